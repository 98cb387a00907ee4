%% Group leaders for the suites: they tell a process what they were asked to print, and answer when they are let.
-module(py_leaders).

-export([start/0, hold/1, go_on/1, stop/1, caller/2, under/2, next/1, printed/2, nothing/1]).

%% `{printed, Leader, Text}' comes to the process that has started it.
start() ->
    Test = self(),
    spawn_link(fun() -> open(Test) end).

%% It takes requests and does not answer them.
hold(Leader) -> told(Leader, hold).

%% It answers again, first what it has held.
go_on(Leader) -> told(Leader, go_on).

told(Leader, What) ->
    Leader ! {What, self()},
    receive
        {Leader, What} -> ok
    end.

stop(Leader) ->
    unlink(Leader),
    Monitor = monitor(process, Leader),
    exit(Leader, kill),
    receive
        {'DOWN', Monitor, process, Leader, _} -> ok
    end.

open(Test) ->
    receive
        {io_request, _, _, _} = Request ->
            tell(Request, Test),
            answer(Request),
            open(Test);
        {hold, From} ->
            From ! {self(), hold},
            held(Test, [])
    end.

held(Test, Requests) ->
    receive
        {io_request, _, _, _} = Request ->
            tell(Request, Test),
            held(Test, [Request | Requests]);
        {go_on, From} ->
            lists:foreach(fun answer/1, lists:reverse(Requests)),
            From ! {self(), go_on},
            open(Test)
    end.

tell({io_request, _, _, {put_chars, unicode, Chars}}, Test) ->
    Test ! {printed, self(), unicode:characters_to_binary(Chars)};
tell({io_request, _, _, getopts}, _Test) ->
    ok.

answer({io_request, From, ReplyAs, {put_chars, unicode, _}}) ->
    From ! {io_reply, ReplyAs, ok};
answer({io_request, From, ReplyAs, getopts}) ->
    From ! {io_reply, ReplyAs, {error, enotsup}}.

%% What the fun gives in a process with this group leader.
under(Leader, Fun) ->
    case py_suite:await_down(caller(Leader, Fun), 30_000) of
        {result, Result} -> Result;
        {died, Reason} -> ct:fail({caller_died, Reason})
    end.

caller(Leader, Fun) ->
    py_suite:spawn_caller(fun() ->
        true = group_leader(Leader, self()),
        Fun()
    end).

%% What it was asked to print next.
next(Leader) ->
    receive
        {printed, Leader, Text} -> Text
    after 30_000 -> ct:fail({nothing_printed, Leader, py_suite:flush()})
    end.

%% Waits until it was asked to print so much, in however many requests.
printed(_Leader, <<>>) ->
    ok;
printed(Leader, Text) ->
    Next = next(Leader),
    Size = byte_size(Next),
    case Text of
        <<Next:Size/binary, Rest/binary>> -> printed(Leader, Rest);
        _ -> ct:fail({printed, Next, instead_of, Text})
    end.

%% It has not been asked for more than was looked at.
nothing(Leader) ->
    receive
        {printed, Leader, Text} -> ct:fail({printed, Text})
    after 0 -> ok
    end.
