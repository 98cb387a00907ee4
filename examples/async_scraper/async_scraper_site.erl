%% A web site to read: pages with links to others, some broken, each answered after a while.
-module(async_scraper_site).

-export([start_link/1, stop/1, expected/1]).

-export_type([site/0]).

-type site() :: #{pid := pid(), port := inet:port_number(), start := binary()}.

%% `pages': how many. `delay': how long each takes, in milliseconds. With `hang' nothing is answered, and the process that
%% started the site is sent `asked' for each request, and `gone' when its connection ends.
-spec start_link(#{pages := pos_integer(), delay := non_neg_integer() | hang}) -> site().
start_link(Opts) ->
    {ok, Listener} = gen_tcp:listen(0, [binary, {active, false}, {packet, http_bin}, {ip, {127, 0, 0, 1}}, {backlog, 512}]),
    {ok, Port} = inet:port(Listener),
    Owner = self(),
    Pid = spawn_link(fun() ->
        receive
            listener -> accept(Listener, Opts#{owner => Owner})
        end
    end),
    ok = gen_tcp:controlling_process(Listener, Pid),
    Pid ! listener,
    #{pid => Pid, port => Port, start => iolist_to_binary(io_lib:format("http://127.0.0.1:~b/0", [Port]))}.

-spec stop(site()) -> ok.
stop(#{pid := Pid}) ->
    Monitor = monitor(process, Pid),
    unlink(Pid),
    exit(Pid, kill),
    receive
        {'DOWN', Monitor, process, Pid, _} -> ok
    end.

%% What a reader must find.
-spec expected(pos_integer()) -> #{titles := #{binary() => binary()}, broken := #{binary() => integer()}}.
expected(Pages) ->
    Numbers = lists:seq(0, Pages - 1),
    #{
        titles => maps:from_list([{path(N), title(N)} || N <- Numbers, status(N) =:= 200]),
        broken => maps:from_list([{<<"/missing">>, 404} | [{path(N), status(N)} || N <- Numbers, status(N) =/= 200]])
    }.

accept(Listener, Opts) ->
    {ok, Connection} = gen_tcp:accept(Listener),
    Pid = spawn_link(fun() ->
        receive
            connection -> serve(Connection, Opts)
        end
    end),
    ok = gen_tcp:controlling_process(Connection, Pid),
    Pid ! connection,
    accept(Listener, Opts).

serve(Connection, #{pages := Pages, delay := Delay, owner := Owner}) ->
    {ok, {http_request, 'GET', {abs_path, Path}, _}} = gen_tcp:recv(Connection, 0),
    ok = headers(Connection),
    {Status, Body} = page(Path, Pages),
    %% A reader may go away meanwhile.
    case Delay of
        hang ->
            Owner ! asked,
            Owner ! wait_until_gone(Connection);
        _ ->
            timer:sleep(Delay)
    end,
    _ = gen_tcp:send(Connection, io_lib:format("HTTP/1.0 ~b x\r\nContent-Type: text/html\r\n\r\n~ts", [Status, Body])),
    gen_tcp:close(Connection).

headers(Connection) ->
    case gen_tcp:recv(Connection, 0) of
        {ok, http_eoh} -> ok;
        {ok, {http_header, _, _, _, _}} -> headers(Connection)
    end.

wait_until_gone(Connection) ->
    {error, closed} = gen_tcp:recv(Connection, 0),
    gone.

page(<<"/missing">>, _Pages) ->
    {404, "nothing here"};
page(<<"/", Digits/binary>>, Pages) ->
    N = binary_to_integer(Digits),
    case status(N) of
        200 -> {200, ["<html><title>", title(N), "</title>", [link_to(P) || P <- links(N, Pages)], "</html>"]};
        Status -> {Status, "out of order"}
    end.

%% A tree with five branches each, and one link that leads nowhere. What is below a broken page is reached from the page
%% before it.
links(N, Pages) ->
    Below = [path(M) || M <- lists:seq(5 * N + 1, 5 * N + 5) ++ [N + 1], M < Pages],
    [<<"/missing">> | Below].

link_to(Path) ->
    ["<a href=\"", Path, "\">more</a>"].

path(N) ->
    <<"/", (integer_to_binary(N))/binary>>.

title(N) ->
    <<"Page ", (integer_to_binary(N))/binary>>.

status(N) when N rem 50 =:= 48 -> 500;
status(_) -> 200.
