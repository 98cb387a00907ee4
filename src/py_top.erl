-module(py_top).
-include("py_doc.hrl").
?MODULEDOC("""
A screen with what the node's Python is at, for a shell, also a remote one: contexts with what runs there, processor time,
requests, queues and memory. It refreshes itself, as `etop` does for processes.

    1> py_top:start().

shows it until `q` and Enter are typed, or somebody calls `stop/0`. Enter alone refreshes at once; `c`, `r`, `u`, `m` and
`t` with Enter sort by processor time, requests per second, queue, memory, and the time for which a request has run.
Where the output is no terminal, screens follow one another.

What it shows is that of `py:info/0`, which waits for nothing: the screen also shows contexts that are stuck.
""").

-export([start/0, start/1, stop/0]).
-export_type([options/0]).

-include("py_arguments.hrl").

-type options() :: #{interval => pos_integer(), sort => cpu | requests | queue | memory | time}.
%% Milliseconds between two screens, 2000 unless said otherwise; what is on top, by default `cpu`.

-record(screen, {
    owner :: pid(),
    monitor :: reference(),
    leader :: pid(),
    reader :: pid() | undefined,
    interval :: pos_integer(),
    sort :: py_top_text:sort(),
    timer :: reference() | undefined,
    before = none :: none | {py_info:info(), At :: integer()}
}).

-define(INTERVAL, 2_000).
-define(STOP_TIMEOUT, 5_000).

?DOC("As `start/1` with the default options.").
-spec start() -> ok | {error, not_running | {already_started, pid()}}.
start() ->
    shown(?FORM([], []), #{}).

?DOC("""
Shows the screen until it is ended; only one at a time in a node. It goes to the group leader of the calling process, and
ends with that process.
""").
-spec start(options()) -> ok | {error, not_running | {already_started, pid()}}.
start(Options) ->
    shown(?FORM([options], [Options]), Options).

?DOC("Ends the screen; ok also when there is none.").
-spec stop() -> ok.
stop() ->
    case whereis(?MODULE) of
        undefined ->
            ok;
        Screen ->
            Monitor = erlang:monitor(process, Screen),
            true = exit(Screen, shutdown),
            receive
                {'DOWN', Monitor, process, Screen, _} -> ok
            after ?STOP_TIMEOUT -> ok
            end
    end.

shown(Form, Options) ->
    Checked = checked(Form, Options),
    case py_nif:python() of
        {error, _} = Error -> Error;
        {_, _} -> wait(Checked)
    end.

checked(Form, Options) when is_map(Options) ->
    maps:foreach(
        fun
            (interval, Value) when is_integer(Value), Value > 0, Value =< 16#FFFFFFFF ->
                ok;
            (sort, Value) when
                Value =:= cpu; Value =:= requests; Value =:= queue; Value =:= memory; Value =:= time
            ->
                ok;
            (Key, Value) when Key =:= interval; Key =:= sort ->
                py_badarg:refuse(Form, options, {wrong_option, Key, Value});
            (Key, _Value) ->
                py_badarg:refuse(Form, options, {unknown_option, Key, [interval, sort]})
        end,
        Options
    ),
    maps:merge(#{interval => ?INTERVAL, sort => cpu}, Options);
checked(Form, _Options) ->
    py_badarg:refuse(Form, options, wrong).

wait(Options) ->
    Owner = self(),
    {Screen, Monitor} = erlang:spawn_monitor(fun() -> screen(Owner, Options) end),
    receive
        {'DOWN', Monitor, process, Screen, {already_started, _} = Reason} -> {error, Reason};
        {'DOWN', Monitor, process, Screen, not_running} -> {error, not_running};
        {'DOWN', Monitor, process, Screen, _} -> ok
    end.

%% ------------------------------------------------------------------------------------------------
%% The process of the screen, which writes; whoever reads is another one, for reading waits

screen(Owner, #{interval := Interval, sort := Sort}) ->
    ok = name_it(),
    Screen = self(),
    Leader = group_leader(),
    Reader = spawn_link(fun() -> reader(Screen, Leader) end),
    show(#screen{
        owner = Owner,
        monitor = erlang:monitor(process, Owner),
        leader = Leader,
        reader = Reader,
        interval = Interval,
        sort = Sort
    }).

name_it() ->
    try
        true = register(?MODULE, self()),
        ok
    catch
        error:badarg ->
            case whereis(?MODULE) of
                undefined -> name_it();
                Other -> exit({already_started, Other})
            end
    end.

show(State) ->
    case py:info() of
        {ok, Info} -> show(Info, State);
        {error, not_running} -> exit(not_running)
    end.

show(Info, #screen{before = Before, leader = Leader} = State) ->
    Now = erlang:monotonic_time(millisecond),
    View = #{sort => State#screen.sort, clock => time(), erlang => erlang:memory(total), columns => columns(Leader), rows => rows(Leader)},
    Lines = py_top_text:lines(Info, since(Before, Now), View),
    ok = written(Leader, [clear(Leader) | [[Line, $\n] || Line <- Lines]]),
    Timer = erlang:start_timer(State#screen.interval, self(), show),
    listen(State#screen{timer = Timer, before = {Info, Now}}).

%% Where nobody can see it any more it ends.
written(Leader, Text) ->
    try
        io:put_chars(Leader, Text)
    catch
        error:_ -> exit(shutdown)
    end.

%% Of a moment ago, rates would say little.
since({Info, At}, Now) when Now > At -> {Info, Now - At};
since(_, _) -> none.

clear(Leader) ->
    case io:columns(Leader) of
        {ok, _} -> "\e[H\e[2J";
        {error, _} -> "\n"
    end.

columns(Leader) ->
    case io:columns(Leader) of
        {ok, Columns} -> Columns;
        {error, _} -> 120
    end.

rows(Leader) ->
    case io:rows(Leader) of
        {ok, Rows} -> Rows;
        {error, _} -> 50
    end.

listen(#screen{timer = Timer, monitor = Monitor, reader = Reader} = State) ->
    receive
        {timeout, Timer, show} -> show(State);
        {Reader, Key} -> key(Key, State);
        {'DOWN', Monitor, process, _, _} -> exit(shutdown);
        %% A timer that was cancelled too late.
        {timeout, _, show} -> listen(State)
    end.

key($q, _State) -> exit(shutdown);
key($c, State) -> again(State#screen{sort = cpu});
key($r, State) -> again(State#screen{sort = requests});
key($u, State) -> again(State#screen{sort = queue});
key($m, State) -> again(State#screen{sort = memory});
key($t, State) -> again(State#screen{sort = time});
key(_, State) -> again(State).

again(#screen{timer = Timer} = State) ->
    _ = erlang:cancel_timer(Timer),
    show(State).

%% Where nothing can be read the screen goes on without keys; without its terminal it ends, being linked.
reader(Screen, Leader) ->
    case io:get_line(Leader, "") of
        Line when is_list(Line); is_binary(Line) ->
            Screen ! {self(), first(unicode:characters_to_list(Line))},
            reader(Screen, Leader);
        {error, terminated} ->
            exit(shutdown);
        _NothingMore ->
            ok
    end.

first([$\n | _]) -> $\n;
first([Char | _]) -> Char;
first(_) -> $\n.
