%% @doc A web application whose state is Erlang's: Starlette answers in several contexts at once, and what visitors write
%% is in an ETS table, which no context has to itself and none takes with it when it goes.
%%
%%     visitors ──▶ listener ──▶ contexts: Starlette ── sign, entries ──▶ ETS
%%
%% Visitors sign the book while the contexts are replaced, and all that they were told is written is there afterwards.
%%
%% `main/0' runs it and ends the node; `run.sh' calls it.
-module(guest_book).

-export([main/0, run/1]).

-export_type([options/0, report/0]).

%% Every key may be left out but the first two.
-type options() :: #{
    %% the folder that app.py is in
    folder => file:name_all(),
    %% the folder that the package `starlette' is in
    packages => file:name_all(),
    mode => owngil | worker,
    visitors => pos_integer(),
    entries => pos_integer(),
    quiet => boolean()
}.
-type report() :: #{written := non_neg_integer(), found := non_neg_integer(), refused := 422}.

-define(VISITORS, 10).
-define(ENTRIES, 50).

%% @doc Runs the example, and ends the node: with 0, or with 1 when something failed.
-spec main() -> no_return().
main() ->
    Build = filename:dirname(filename:dirname(code:which(?MODULE))),
    [Packages] = filelib:wildcard(filename:join(Build, "venv/lib/python*/site-packages")),
    Status =
        try run(#{folder => filename:join(Build, "priv"), packages => Packages}) of
            _Report -> 0
        catch
            Class:Reason:Stack ->
                io:format(standard_error, "~nfailed: ~tp~n", [{Class, Reason, Stack}]),
                1
        end,
    halt(Status).

%% @doc Exits when an entry is missing.
-spec run(options()) -> report().
run(#{folder := Folder, packages := Packages} = Opts) ->
    {ok, _} = application:ensure_all_started(erlang_python),
    Book = ets:new(?MODULE, [ordered_set, public]),
    Last = counters:new(1, []),
    ok = py:register_function(sign, fun([Name, Text]) -> sign(Book, Last, Name, Text) end),
    ok = py:register_function(entries, fun([]) -> lists:reverse(ets:tab2list(Book)) end),
    {ok, _} = py_web:start(?MODULE, #{
        asgi => "app:app",
        paths => [Packages, Folder],
        ip => {127, 0, 0, 1},
        port => 0,
        contexts => 2,
        mode => maps:get(mode, Opts, py:execution_mode())
    }),
    Port = py_web:port(?MODULE),
    try
        Visitors = [visitor(Port, Number, Opts) || Number <- lists:seq(1, maps:get(visitors, Opts, ?VISITORS))],
        ok = py_web:restart(?MODULE),
        Report = #{
            written => lists:sum([written(Visitor) || Visitor <- Visitors]),
            found => ets:info(Book, size),
            refused => element(1, request(Port, <<"POST">>, <<"{\"name\": \"nobody\"}">>))
        },
        {200, Shown} = request(Port, <<"GET">>, <<>>),
        #{written := Written, found := Written} = Report,
        tell(Report, Shown, Opts),
        Report
    after
        ok = py_web:stop(?MODULE),
        ok = py:unregister_function(sign),
        ok = py:unregister_function(entries),
        true = ets:delete(Book)
    end.

%% The number is free for whoever inserts it first.
sign(Book, Last, Name, Text) ->
    ok = counters:add(Last, 1, 1),
    Number = counters:get(Last, 1),
    case ets:insert_new(Book, {Number, Name, Text}) of
        true -> Number;
        false -> sign(Book, Last, Name, Text)
    end.

visitor(Port, Number, Opts) ->
    Name = <<"visitor ", (integer_to_binary(Number))/binary>>,
    Entry = <<"{\"name\": \"", Name/binary, "\", \"text\": \"I was here\"}">>,
    spawn_monitor(fun() ->
        Entries = maps:get(entries, Opts, ?ENTRIES),
        _ = [{201, _} = request(Port, <<"POST">>, Entry) || _ <- lists:seq(1, Entries)],
        exit({written, Entries})
    end).

written({Visitor, Monitor}) ->
    receive
        {'DOWN', Monitor, process, Visitor, {written, Entries}} -> Entries;
        {'DOWN', Monitor, process, Visitor, Reason} -> exit({visitor_failed, Reason})
    end.

%% On a connection of its own; status and body.
request(Port, Method, Body) ->
    {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, Port, [binary, {active, false}]),
    ok = gen_tcp:send(Socket, [
        Method, " /entries HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: ",
        integer_to_binary(byte_size(Body)), "\r\n\r\n", Body
    ]),
    <<"HTTP/1.1 ", Status:3/binary, Rest/binary>> = received(Socket),
    [_Head, Answer] = binary:split(Rest, <<"\r\n\r\n">>),
    {binary_to_integer(Status), Answer}.

received(Socket) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, Data} ->
            <<Data/binary, (received(Socket))/binary>>;
        {error, closed} ->
            ok = gen_tcp:close(Socket),
            <<>>
    end.

tell(#{written := Written, found := Found, refused := Refused}, Shown, Opts) ->
    say(Opts, "~b entries were written while both contexts were replaced, and ~b are in the book~n", [Written, Found]),
    say(Opts, "an entry without a text is refused with ~b~n", [Refused]),
    say(Opts, "the book has ~b bytes of JSON~n", [byte_size(Shown)]).

say(#{quiet := true}, _Format, _Args) -> ok;
say(_Opts, Format, Args) -> io:format(Format, Args).
