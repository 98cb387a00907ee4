-module(py_top_text).
-include("py_doc.hrl").
?MODULEDOC(false).

%% What `py_top' shows, as text: from two answers of py:info/0 and the time between them.

-export([lines/3]).
-export_type([view/0, sort/0]).

-type sort() :: cpu | requests | queue | memory | time.
-type view() :: #{columns := pos_integer(), rows := pos_integer(), sort := sort(), clock := calendar:time(),
    %% What Erlang has, in bytes.
    erlang := non_neg_integer()
}.

%% The columns: title, width, and which side the text is on. What comes last takes the rest of the line.
-define(COLUMNS, [
    {"CONTEXT", 16, left},
    {"STATE", 8, left},
    {"CPU%", 6, right},
    {"REQ/S", 8, right},
    {"QUEUE", 6, right},
    {"PROCS", 6, right},
    {"TASKS", 6, right},
    {"MEMORY", 9, right},
    {"FOR", 8, right},
    {"WHAT", rest, left}
]).
%% Lines above the first context.
-define(HEAD, 6).

%% `none': nothing was seen before, so nothing is known of rates.
-spec lines(py_info:info(), none | {py_info:info(), Milliseconds :: pos_integer()}, view()) -> [unicode:chardata()].
lines(Info, Before, #{columns := Columns, rows := Rows} = View) ->
    #{contexts := Contexts} = Info,
    Rates = rates(Before),
    Rated = [{Context, rated(Context, Rates)} || Context <- Contexts],
    Sorted = sorted(maps:get(sort, View), Rated),
    Room = max(1, Rows - ?HEAD - 1),
    {Shown, Left} = lists:split(min(Room, length(Sorted)), Sorted),
    Lines = head(Info, Rated, View) ++ [titles()] ++ [row(One) || One <- Shown] ++ more(length(Left)),
    [clipped(Line, Columns) || Line <- Lines].

clipped(Line, Columns) ->
    string:trim(string:slice(Line, 0, Columns), trailing).

more(0) -> [];
more(Count) -> [io_lib:format("... and ~b more", [Count])].

%% ------------------------------------------------------------------------------------------------
%% The head

head(Info, Rated, #{sort := Sort, clock := {Hour, Minute, Second}, erlang := Total}) ->
    #{python := Python, mode := Mode, otp := Otp, node := Node, threads := Threads, requests := Requests} = Info,
    #{memory := #{contexts := Used}, limits := #{max_concurrent := Most}} = Info,
    #{live := Live, spare := Spare, stuck := Stuck, set_aside := Aside} = Threads,
    #{queued := Queued, tasks := Tasks} = Requests,
    States = [State || {#{state := State}, _} <- Rated],
    [
        io_lib:format("py_top  ~ts  Python ~ts  OTP ~ts  ~ts  ~2..0b:~2..0b:~2..0b", [
            Node, Python, Otp, Mode, Hour, Minute, Second
        ]),
        io_lib:format("contexts  ~b: ~ts; threads ~b, spare ~b, stuck ~b, set aside ~b", [
            length(Rated), states(States), Live, Spare, Stuck, Aside
        ]),
        io_lib:format("requests  ~ts/s, ~ts, ~b queued, ~b tasks, ~b refused by sandboxes", [
            total(requests, Rated), under_way(Requests, Most), Queued, Tasks, refused(Info)
        ]),
        io_lib:format("memory    ~ts in contexts, ~ts in Erlang; cpu ~ts%; sorted by ~ts", [
            bytes(Used), bytes(Total), total(cpu, Rated), Sort
        ]),
        ""
    ].

states(States) ->
    Counted = [
        io_lib:format("~b ~ts", [length(Found), State])
     || State <- [running, waiting, idle, starting, closing, stuck],
        Found <- [[One || One <- States, One =:= State]],
        Found =/= []
    ],
    case Counted of
        [] -> "none";
        _ -> lists:join(", ", Counted)
    end.

%% Those in flight are counted where there is a bound.
under_way(#{running := Running}, infinity) -> io_lib:format("~b running", [Running]);
under_way(#{in_flight := InFlight}, Most) -> io_lib:format("~b of ~b in flight", [InFlight, Most]).

refused(#{refusals := Refusals}) -> lists:sum(maps:values(Refusals)).

total(What, Rated) ->
    Known = [Value || {_, #{What := Value}} <- Rated, Value =/= undefined],
    case {Known, Rated} of
        {[], [_ | _]} -> "-";
        _ -> rate(lists:sum(Known))
    end.

%% ------------------------------------------------------------------------------------------------
%% Rates

rates(none) ->
    none;
rates({#{contexts := Before}, Milliseconds}) ->
    {maps:from_list([{Pid, Context} || #{context := Pid} = Context <- Before]), Milliseconds}.

rated(#{context := Pid} = Context, {Before, Milliseconds}) when is_map_key(Pid, Before) ->
    #{requests := Requests, cpu_time := Cpu} = Context,
    #{Pid := #{requests := RequestsBefore, cpu_time := CpuBefore}} = Before,
    #{
        requests => (Requests - RequestsBefore) * 1_000 / Milliseconds,
        cpu => percent(Cpu, CpuBefore, Milliseconds)
    };
rated(_Context, _New) ->
    #{requests => undefined, cpu => undefined}.

%% Of microseconds.
percent(Now, Before, Milliseconds) when is_integer(Now), is_integer(Before) ->
    max(0, Now - Before) / 10 / Milliseconds;
percent(_, _, _) ->
    undefined.

sorted(Sort, Rated) ->
    %% The largest first; contexts that are alike stay in their order.
    lists:sort(fun(A, B) -> key(Sort, A) >= key(Sort, B) end, Rated).

key(cpu, {_, #{cpu := Cpu}}) -> number(Cpu);
key(requests, {_, #{requests := Requests}}) -> number(Requests);
key(queue, {#{queue := Queue}, _}) -> Queue;
key(memory, {#{memory := #{used := Used}}, _}) -> Used;
key(memory, {#{memory := undefined}, _}) -> -1;
key(time, {#{running_for := Milliseconds}, _}) -> number(Milliseconds).

number(undefined) -> -1;
number(Number) -> Number.

%% ------------------------------------------------------------------------------------------------
%% Rows

titles() ->
    line([Title || {Title, _, _} <- ?COLUMNS]).

row({Context, #{cpu := Cpu, requests := Rate}}) ->
    #{id := Id, state := State, queue := Queue, processes := Processes, tasks := Tasks} = Context,
    #{memory := Memory, running_for := Milliseconds} = Context,
    line([
        id(Id),
        atom_to_list(State),
        rate(Cpu),
        rate(Rate),
        integer_to_list(Queue),
        integer_to_list(Processes),
        integer_to_list(Tasks),
        used(Memory),
        duration(Milliseconds),
        what(Context)
    ]).

line(Texts) ->
    lists:join($\s, [cell(Text, Width, Side) || {Text, {_, Width, Side}} <- lists:zip(Texts, ?COLUMNS)]).

cell(Text, rest, _Side) -> Text;
cell(Text, Width, left) -> string:pad(string:slice(Text, 0, Width), Width, trailing);
cell(Text, Width, right) -> string:pad(string:slice(Text, 0, Width), Width, leading).

id({Pool, Index}) -> io_lib:format("~ts/~b", [Pool, Index]);
id(Serial) -> io_lib:format("#~b", [Serial]).

rate(undefined) -> "-";
rate(Rate) when Rate >= 100; Rate == 0 -> integer_to_list(round(Rate));
rate(Rate) -> io_lib:format("~.1f", [float(Rate)]).

used(undefined) -> "-";
used(#{used := Used}) -> bytes(Used).

bytes(Bytes) when Bytes >= 1 bsl 30 -> io_lib:format("~.1f GiB", [Bytes / (1 bsl 30)]);
bytes(Bytes) -> io_lib:format("~.1f MiB", [Bytes / (1 bsl 20)]).

duration(undefined) -> "-";
duration(Milliseconds) when Milliseconds < 1_000 -> io_lib:format("~b ms", [Milliseconds]);
duration(Milliseconds) when Milliseconds < 60_000 -> io_lib:format("~.1f s", [Milliseconds / 1_000]);
duration(Milliseconds) -> io_lib:format("~b:~2..0b", [Milliseconds div 60_000, Milliseconds rem 60_000 div 1_000]).

%% The innermost, which is what runs.
what(#{running := []}) -> "";
what(#{running := Running}) ->
    #{what := What} = lists:last(Running),
    plain(asked(What)).

asked({call, Module, Function, Arity}) -> io_lib:format("~ts.~ts/~b", [Module, Function, Arity]);
asked({Kind, Module, Function, Items}) -> io_lib:format("~ts ~ts.~ts, ~b items", [Kind, Module, Function, Items]);
asked({Kind, Text}) -> io_lib:format("~ts ~ts", [Kind, Text]);
asked(undefined) -> "";
asked(Kind) -> atom_to_list(Kind).

%% Names and code come from whoever calls: nothing of them may move the cursor.
plain(Text) ->
    [if C < 32; C =:= 127; C >= 128, C < 160 -> $?; true -> C end || C <- lists:flatten(unicode:characters_to_list(Text))].
