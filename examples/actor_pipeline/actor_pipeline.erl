%% @doc A pipeline of Erlang processes, most of which have their work done by Python.
%%
%%     source ──▶ Parse ──▶ Locate ──▶ Total ──▶ sink
%%                  │
%%                  └─────▶ rejects
%%
%% A stage is a process that owns a Python object, in a context of its own, so the stages work in parallel. Python sends
%% what it has straight to the next process, and to a process that it finds by its name.
%%
%% Nobody is sent more than it can take: a process may send so many batches to the next one, and one more for each that
%% the next one is done with. So the slowest stage sets the pace, and no mailbox grows.
%%
%% `main/0' runs it and ends the node; `run.sh' calls it.
-module(actor_pipeline).

-export([main/0, run/1]).

-export_type([options/0, report/0]).

%% Every key may be left out but the folder.
-type options() :: #{
    mode => owngil | worker,
    %% the folder that stages.py is in
    folder => file:name_all(),
    %% the classes of the stages, in their order
    stages => [atom()],
    lines => pos_integer(),
    quiet => boolean()
}.
-type report() :: #{
    totals := map(),
    rejected := non_neg_integer(),
    %% the most messages that waited in the mailbox of a stage
    most_waiting := non_neg_integer(),
    microseconds := pos_integer()
}.

-define(LINES, 20_000).
-define(BATCH, 100).
%% Batches that may be on their way to a process, or wait in it.
-define(WINDOW, 4).
-define(REJECTS, actor_pipeline_rejects).

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

%% @doc Exits when a process of the pipeline does, or when the totals are not those that Erlang counts.
-spec run(options()) -> report().
run(Opts) ->
    {ok, _} = application:ensure_all_started(erlang_python),
    Lines = [line(Number) || Number <- lists:seq(1, maps:get(lines, Opts, ?LINES))],
    {Runner, Monitor} = spawn_monitor(fun() -> exit({report, pipeline(Lines, Opts)}) end),
    receive
        {'DOWN', Monitor, process, Runner, {report, Report}} ->
            {expected, Totals, Rejected} = expected(Lines),
            #{totals := Totals, rejected := Rejected} = Report,
            tell(Report, length(Lines), Opts),
            Report;
        {'DOWN', Monitor, process, Runner, Reason} ->
            exit({pipeline_failed, Reason})
    end.

%% All are linked with one another, so the end of one is the end of all.
pipeline(Lines, Opts) ->
    Sink = self(),
    Rejects = spawn_link(fun() -> rejects(0) end),
    true = register(?REJECTS, Rejects),
    Classes = maps:get(stages, Opts, ['Parse', 'Locate', 'Total']),
    First = lists:foldr(
        fun(Class, Following) -> spawn_link(fun() -> stage(Class, Following, Sink, Opts) end) end, Sink, Classes
    ),
    Started = erlang:monotonic_time(microsecond),
    _ = spawn_link(fun() -> source(Lines, First, ?WINDOW) end),
    Totals = sink(),
    Took = erlang:monotonic_time(microsecond) - Started,
    Waiting = [receive {most_waiting, Class, Most} -> Most end || Class <- Classes],
    true = unregister(?REJECTS),
    Rejects ! {count, self()},
    receive
        {rejected, Rejected} ->
            #{totals => Totals, rejected => Rejected, most_waiting => lists:max(Waiting), microseconds => Took}
    end.

%%% The processes

source([], First, _Credit) ->
    First ! {done, none};
source(Lines, First, 0) ->
    receive
        more -> source(Lines, First, 1)
    end;
source(Lines, First, Credit) ->
    {Batch, Rest} = lists:split(min(?BATCH, length(Lines)), Lines),
    First ! {batch, self(), Batch},
    source(Rest, First, Credit - 1).

stage(Class, Following, Sink, Opts) ->
    {ok, Context} = py_context:start_link(Class, maps:get(mode, Opts, py:execution_mode()), #{}),
    Folder = unicode:characters_to_binary(maps:get(folder, Opts)),
    {ok, none} = py:call(Context, sys, 'path.append', [Folder]),
    {ok, Stage} = py:call(Context, stages, Class, [self(), Following]),
    Most = work(Stage, ?WINDOW, 0),
    ok = py_context:stop(Context),
    Sink ! {most_waiting, Class, Most}.

work(Stage, Credit, Most) ->
    receive
        more ->
            work(Stage, Credit + 1, Most);
        {batch, From, Batch} when Credit > 0 ->
            {message_queue_len, Waiting} = process_info(self(), message_queue_len),
            {ok, none} = py:call_method(Stage, feed, [Batch]),
            From ! more,
            work(Stage, Credit - 1, max(Most, Waiting));
        {done, _} when Credit > 0 ->
            {ok, none} = py:call_method(Stage, finish, []),
            Most
    end.

%% The last batches are empty: what is wanted comes at the end.
sink() ->
    receive
        {batch, From, []} ->
            From ! more,
            sink();
        {done, Totals} ->
            Totals
    end.

rejects(Count) ->
    receive
        {rejected, Line} when is_binary(Line) -> rejects(Count + 1);
        {count, From} -> From ! {rejected, Count}
    end.

%%% The log

line(Number) when Number rem 97 =:= 0 ->
    <<"a line that nobody can read">>;
line(Number) ->
    {Address, Status, Size} = request(Number),
    iolist_to_binary(
        io_lib:format("~ts - - [01/Mar/2025:12:00:00 +0000] \"GET /page/~b HTTP/1.1\" ~b ~b", [
            Address, Number rem 40, Status, Size
        ])
    ).

request(Number) ->
    Address =
        case Number rem 3 of
            0 -> io_lib:format("10.0.~b.~b", [Number rem 7, Number rem 251]);
            _ -> io_lib:format("198.51.100.~b", [Number rem 251])
        end,
    Status =
        case Number rem 50 of
            0 -> 503;
            _ -> 200
        end,
    {Address, Status, Number rem 5000}.

%% What should come out, from what the lines were made of.
expected(Lines) ->
    Read = [Number || Number <- lists:seq(1, length(Lines)), Number rem 97 =/= 0],
    {Inside, Outside} = lists:partition(fun(Number) -> Number rem 3 =:= 0 end, Read),
    Sizes = fun(Numbers) -> lists:sum([Number rem 5000 || Number <- Numbers]) end,
    Both = fun(Tell) ->
        maps:from_list([{Where, Tell(Some)} || {Where, [_ | _] = Some} <- [{<<"inside">>, Inside}, {<<"outside">>, Outside}]])
    end,
    Totals = #{
        <<"requests">> => Both(fun erlang:length/1),
        <<"bytes">> => Both(Sizes),
        <<"failed">> => length([Number || Number <- Read, Number rem 50 =:= 0])
    },
    {expected, Totals, length(Lines) - length(Read)}.

tell(#{totals := Totals, rejected := Rejected, most_waiting := Most, microseconds := Took}, Lines, Opts) ->
    #{<<"requests">> := Requests, <<"bytes">> := Bytes, <<"failed">> := Failed} = Totals,
    say(Opts, "~b lines in ~b ms~n~n", [Lines, Took div 1000]),
    lists:foreach(
        fun({Where, Count}) ->
            say(Opts, "requests from ~-10ts ~8b  ~10b bytes~n", [Where, Count, maps:get(Where, Bytes)])
        end,
        lists:sort(maps:to_list(Requests))
    ),
    say(Opts, "failed                   ~8b~n", [Failed]),
    say(Opts, "rejected                 ~8b~n~n", [Rejected]),
    say(Opts, "at most ~b messages waited in a stage; the totals are right~n", [Most]).

say(#{quiet := true}, _Format, _Args) -> ok;
say(_Opts, Format, Args) -> io:format(Format, Args).
