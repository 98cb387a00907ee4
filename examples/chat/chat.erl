%% @doc A line-based chat whose members are connected to several Python contexts.
%%
%%     client ──▶ context 1 ──┐            ┌──▶ context 1 ──▶ its clients
%%                            ├──▶ room ───┤
%%     client ──▶ context 2 ──┘  (Erlang)  └──▶ context 2 ──▶ its clients
%%
%% The clients here are Erlang processes; `telnet' or `nc' would do as well.
%%
%% `main/0' runs it and ends the node; `run.sh' calls it.
-module(chat).

-export([main/0, run/1]).

-export_type([options/0, report/0]).

%% Every key may be left out but the folder.
-type options() :: #{
    mode => owngil | worker,
    %% the folder that chat.py is in
    folder => file:name_all(),
    contexts => pos_integer(),
    members => pos_integer(),
    %% how many lines each says
    lines => pos_integer(),
    quiet => boolean()
}.
-type report() :: #{
    per_context := [non_neg_integer()],
    heard := non_neg_integer(),
    same_order := boolean(),
    left := [binary()],
    microseconds := pos_integer()
}.

-define(MEMBERS, 20).
-define(LINES, 10).
-define(DEADLINE, 30_000).

%% @doc Runs the example, and ends the node: with 0, or with 1 when something failed.
-spec main() -> no_return().
main() ->
    Folder = filename:join(filename:dirname(filename:dirname(code:which(?MODULE))), "priv"),
    Status =
        try run(#{folder => Folder}) of
            _Report -> 0
        catch
            Class:Reason:Stack ->
                io:format(standard_error, "~nfailed: ~tp~n", [{Class, Reason, Stack}]),
                1
        end,
    halt(Status).

%% @doc Lets members talk, and compares what each has heard.
-spec run(options()) -> report().
run(Opts) ->
    {ok, _} = application:ensure_all_started(erlang_python),
    Members = maps:get(members, Opts, ?MEMBERS),
    Lines = maps:get(lines, Opts, ?LINES),
    {ok, _} = py_reactor:start_listener(?MODULE, #{
        ip => {127, 0, 0, 1},
        mode => maps:get(mode, Opts, py:execution_mode()),
        contexts => maps:get(contexts, Opts, 2),
        paths => [maps:get(folder, Opts)],
        protocol => {chat, 'Member'}
    }),
    {ok, Room} = chat_room:start_link(?MODULE),
    Port = py_reactor:port(?MODULE),
    Sockets = [join(Port, N) || N <- lists:seq(1, Members)],
    #{contexts := Contexts} = py_reactor:info(?MODULE),
    Started = erlang:monotonic_time(microsecond),
    [ok = say(Socket, Line) || Line <- lists:seq(1, Lines), Socket <- Sockets],
    [First | _] = Heard = [hear(Socket, Members * Lines) || Socket <- Sockets],
    Took = erlang:monotonic_time(microsecond) - Started,
    SameOrder = lists:all(fun(One) -> One =:= First end, Heard),
    true = SameOrder,
    [Leaving | Staying] = Sockets,
    ok = gen_tcp:close(Leaving),
    ok = until(hd(Staying), <<"* member 1 is gone\n">>),
    Left = chat_room:members(Room),
    ok = gen_server:stop(Room),
    ok = py_reactor:stop_listener(?MODULE),
    Report = #{
        per_context => [Active || #{active_connections := Active} <- Contexts],
        heard => length(lists:append(Heard)),
        same_order => SameOrder,
        left => Left,
        microseconds => Took
    },
    tell(Report, Opts),
    Report.

%% Whoever hears of its own coming hears all that is said from then on.
join(Port, N) ->
    {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, Port, [binary, {active, false}, {packet, line}, {nodelay, true}]),
    Name = <<"member ", (integer_to_binary(N))/binary>>,
    ok = gen_tcp:send(Socket, <<Name/binary, "\n">>),
    ok = until(Socket, <<"* ", Name/binary, " is here\n">>),
    Socket.

until(Socket, Line) ->
    case gen_tcp:recv(Socket, 0, ?DEADLINE) of
        {ok, Line} -> ok;
        {ok, _Other} -> until(Socket, Line)
    end.

say(Socket, Line) ->
    gen_tcp:send(Socket, <<"line ", (integer_to_binary(Line))/binary, "\n">>).

%% So many lines that somebody has said.
hear(_Socket, 0) ->
    [];
hear(Socket, Count) ->
    case gen_tcp:recv(Socket, 0, ?DEADLINE) of
        {ok, <<"* ", _/binary>>} -> hear(Socket, Count);
        {ok, Line} -> [Line | hear(Socket, Count - 1)]
    end.

tell(#{per_context := PerContext, heard := Heard, left := Left, microseconds := Took}, Opts) ->
    tell(Opts, "members by context: ~ts~n", [lists:join(", ", [integer_to_list(Count) || Count <- PerContext])]),
    tell(Opts, "~b lines were heard in ~b ms, by all in the same order~n", [Heard, Took div 1000]),
    tell(Opts, "one left, ~b stayed~n", [length(Left)]).

tell(#{quiet := true}, _Format, _Args) -> ok;
tell(_Opts, Format, Args) -> io:format(Format, Args).
