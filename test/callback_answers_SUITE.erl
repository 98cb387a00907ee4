%% What Python is told of an Erlang function that it called, whatever end that has.
-module(callback_answers_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

suite() ->
    [{timetrap, {seconds, 60}}].

%% No Python code runs in it, so one mode will do.
all() ->
    [
        value_is_the_answer_whatever_it_looks_like,
        exception_comes_with_its_words,
        words_are_bounded_and_quick_whatever_the_reason,
        stack_ends_with_the_function_that_was_called,
        stack_that_code_made_up_does_no_harm,
        name_that_nobody_registered_is_an_error,
        stopped_application_is_an_error,
        dictionary_tells_the_callback_while_it_runs,
        function_may_leave_the_dictionary_as_it_likes,
        story_of_a_call_in_between_goes_along_with_the_exception,
        last_error_of_the_caller_comes_back,
        tail_is_the_result_of_the_call,
        tail_belongs_to_its_chain
    ].

init_per_suite(Config) ->
    py_suite:init_group(worker, Config).

end_per_suite(Config) ->
    py_suite:end_group(Config).

init_per_testcase(_Case, Config) ->
    Config.

end_per_testcase(_Case, Config) ->
    ok = py_suite:restart(Config, #{}).

serve(Function, Args) ->
    Before = lists:sort(get()),
    Answer = py_callback_runner:serve(make_ref(), Function, Args, infinity),
    ?assertEqual(Before, lists:sort(get())),
    Answer.

current() ->
    get({py_callback, current}).

story(Text) ->
    {'ValueError', <<"builtins">>, Text, [{<<"<string>">>, 1, <<"<module>">>}], []}.

%% ------------------------------------------------------------------------------------------------

value_is_the_answer_whatever_it_looks_like(_Config) ->
    ok = py_callback:register(identity, fun([Value]) -> Value end),
    [
        begin
            ?assertEqual({ok, Value}, serve(<<"identity">>, [Value])),
            ?assertEqual({ok, Value}, serve(fun(X) -> X end, [Value]))
        end
     || Value <- [1, {error, reason}, {ok, value}, undefined, {raised, error, x, <<>>, [], none}, self()]
    ],
    %% A registered function gets one list, a fun that Python holds its arguments.
    ok = py_callback:register(arguments, fun(Args) -> Args end),
    ?assertEqual({ok, [1, 2, 3]}, serve(<<"arguments">>, [1, 2, 3])),
    ?assertEqual({ok, {1, 2, 3}}, serve(fun(A, B, C) -> {A, B, C} end, [1, 2, 3])),
    ?assertEqual({ok, none}, serve(fun() -> none end, [])),
    ?assertEqual({ok, [2, 1]}, serve(fun lists:reverse/1, [[1, 2]])).

exception_comes_with_its_words(_Config) ->
    [
        begin
            {raised, Kind, Reason, Said, Stack, none} = serve(Fun, Args),
            ?assertEqual({Kind, Reason, Text}, {Kind, Reason, Said}),
            ?assert(is_list(Stack))
        end
     || {Kind, Reason, Text, Fun, Args} <- [
            {error, {badmatch, 5}, <<"error: {badmatch,5}">>, fun(X) -> 4 = X end, [5]},
            {error, badarith, <<"error: badarith">>, fun(X) -> X + 1 end, [a]},
            {exit, normal, <<"exit: normal">>, fun() -> exit(normal) end, []},
            {exit, {aborted, x}, <<"exit: {aborted,x}">>, fun() -> exit({aborted, x}) end, []},
            {throw, <<"grün"/utf8>>, <<"throw: <<\"grün\"/utf8>>"/utf8>>, fun() -> throw(<<"grün"/utf8>>) end, []},
            {throw, "text", <<"throw: \"text\"">>, fun() -> throw("text") end, []},
            {error, undef, <<"error: undef: no_such_module:f/2">>, fun no_such_module:f/2, [1, 2]}
        ]
    ],
    {raised, error, function_clause, <<"error: function_clause: lists:", _/binary>>, _, none} =
        serve(fun lists:reverse/1, [x]),
    {raised, error, {badarity, {_, [1, 2]}}, <<"error: {badarity,{", _/binary>>, _, none} =
        serve(fun(X) -> X end, [1, 2]).

words_are_bounded_and_quick_whatever_the_reason(_Config) ->
    Deep = fun(Around) -> lists:foldl(fun(_, Inner) -> Around(Inner) end, x, lists:seq(1, 100_000)) end,
    [
        begin
            {raised, error, Reason, Text, _, none} = serve(fun() -> error(Reason) end, []),
            ?assertMatch(<<"error: ", _, _/binary>>, Text),
            ?assert(is_list(unicode:characters_to_list(Text))),
            ?assert(byte_size(Text) < 10_000)
        end
     || Reason <- [
            lists:seq(1, 1_000_000),
            lists:duplicate(1_000_000, $a),
            [1 | x],
            [16#D800, 16#20AC],
            "10 €",
            binary:copy(<<"a">>, 10_000_000),
            binary:copy(<<255>>, 10_000_000),
            <<1:3>>,
            maps:from_list([{I, I} || I <- lists:seq(1, 100_000)]),
            list_to_tuple(lists:seq(1, 1_000_000)),
            Deep(fun(Inner) -> [Inner] end),
            Deep(fun(Inner) -> {Inner} end),
            Deep(fun(Inner) -> #{key => Inner} end),
            lists:foldl(fun(_, Inner) -> [Inner, Inner] end, x, lists:seq(1, 60)),
            1 bsl 10_000,
            list_to_atom(lists:duplicate(255, 16#20AC))
        ]
    ].

stack_ends_with_the_function_that_was_called(_Config) ->
    ok = py_callback:register(outer, {?MODULE, outer}),
    [
        begin
            {raised, error, badarith, _, Stack, none} = serve(Function, Args),
            ?assertMatch(
                [{?MODULE, inner, 1, #{line := _}}, {?MODULE, outer, 1, #{line := _}}],
                [Frame || {?MODULE, _, _, _} = Frame <- Stack]
            ),
            ?assertMatch({?MODULE, outer, 1, _}, lists:last(Stack)),
            [
                ?assert(is_binary(maps:get(file, Place, <<>>)) andalso is_integer(maps:get(line, Place, 1)))
             || {_, _, _, Place} <- Stack
            ],
            {?MODULE, outer, 1, #{file := File}} = lists:last(Stack),
            ?assertEqual(<<"callback_answers_SUITE.erl">>, filename:basename(File))
        end
     || {Function, Args} <- [{<<"outer">>, [a]}, {fun ?MODULE:outer/1, [[a]]}]
    ],
    %% Also where functions are called below one another.
    {raised, error, again, _, Frames, none} = serve(
        fun() ->
            {raised, error, badarith, _, _, none} = serve(<<"outer">>, [a]),
            error(again)
        end,
        []
    ),
    ?assertEqual([?MODULE], lists:usort([Module || {Module, _, _, _} <- Frames])).

outer([X]) -> [inner(X)].

inner(X) -> [X + 1].

stack_that_code_made_up_does_no_harm(_Config) ->
    [
        begin
            {raised, error, x, <<"error: x">>, Stack, none} = serve(fun() -> erlang:raise(error, x, Given) end, []),
            ?assertEqual(Expected, Stack)
        end
     || {Expected, Given} <- [
            {[], []},
            {[{m, f, 1, #{}}], [{m, f, 1}]},
            {[{m, f, 2, #{line => 3}}], [{m, f, [a, b], [{line, 3}, {error_info, #{}}]}]},
            {[{m, f, 0, #{}}], [{m, f, [a | b], [a | b]}]},
            {[{m, f, 1, #{}}], [{m, f, 1, [{file, [-1]}, {line, a}]}]},
            {[{m, f, 1, #{file => <<"ä.erl"/utf8>>}}], [{m, f, 1, [{file, "ä.erl"}, {line, 0}]}]},
            {[{m, f, 1, #{}}], [{fun() -> ok end, [1], []}, {m, f, 1, []}]}
        ]
    ].

name_that_nobody_registered_is_an_error(_Config) ->
    ?assertEqual(
        {raised, error, {not_registered, <<"nie">>}, <<"error: no Erlang function is registered as nie">>, [], none},
        serve(<<"nie">>, [1])
    ),
    %% A name that could not be registered is one of them.
    [
        ?assertMatch({raised, error, {not_registered, Name}, _, [], none}, serve(Name, []))
     || Name <- [<<>>, binary:copy(<<"a">>, 256)]
    ],
    ?assertEqual({error, {error, {not_registered, <<"nie">>}}}, tail(<<"nie">>, [])),
    %% And is told apart from a function that says so itself.
    ok = py_callback:register(says_so, fun(_) -> error({not_registered, <<"x">>}) end),
    ?assertMatch({raised, error, {not_registered, <<"x">>}, _, [{?MODULE, _, 1, _}], none}, serve(<<"says_so">>, [])).

stopped_application_is_an_error(Config) ->
    ok = py_suite:stop(),
    ?assertEqual({raised, error, not_running, <<"error: not_running">>, [], none}, serve(<<"any">>, [])),
    ?assertEqual({error, {error, not_running}}, tail(<<"any">>, [])),
    ok = py_suite:restart(Config, #{}).

dictionary_tells_the_callback_while_it_runs(_Config) ->
    [Outer, Inner] = [make_ref(), make_ref()],
    {ok, Seen} = py_callback_runner:serve(
        Outer,
        fun() ->
            Before = current(),
            {ok, Within} = py_callback_runner:serve(Inner, fun current/0, [], infinity),
            {raised, throw, Thrown, _, _, _} =
                py_callback_runner:serve(Inner, fun() -> throw(current()) end, [], 7),
            [Before, Within, Thrown, current()]
        end,
        [],
        5
    ),
    ?assertEqual([{Outer, 5}, {Inner, infinity}, {Inner, 7}, {Outer, 5}], Seen),
    ?assertEqual(undefined, current()).

function_may_leave_the_dictionary_as_it_likes(_Config) ->
    {ok, _} = py_callback_runner:serve(make_ref(), fun erlang:erase/0, [], infinity),
    {ok, _} = py_callback_runner:serve(make_ref(), fun() -> put({py_callback, current}, mine) end, [], infinity),
    ?assertEqual(undefined, current()),
    %% What it says to others stays there.
    {ok, undefined} = py_callback_runner:serve(make_ref(), fun() -> put(said, hello) end, [], infinity),
    ?assertEqual(hello, erase(said)).

story_of_a_call_in_between_goes_along_with_the_exception(_Config) ->
    Story = story(<<"inner">>),
    Failing = fun() ->
        ok = py_error:keep(Story),
        error(after_it)
    end,
    {raised, error, after_it, _, _, {'ValueError', <<"builtins">>, <<"inner">>, Text}} = serve(Failing, []),
    %% All of it, as Python tells it.
    ?assertEqual(py_traceback:text(py_error:with_lines(Story)), Text),
    py_suite:contains(Text, "ValueError: inner"),
    %% Not with a value, nor with a later exception.
    ?assertEqual({ok, ok}, serve(fun() -> py_error:keep(Story) end, [])),
    ?assertMatch({raised, error, alone, _, _, none}, serve(fun() -> error(alone) end, [])).

last_error_of_the_caller_comes_back(_Config) ->
    ok = py_error:keep(story(<<"of the caller">>)),
    Before = py:last_error(),
    %% One that came before is not the story of what happens now.
    ?assertMatch({raised, error, alone, _, _, none}, serve(fun() -> error(alone) end, [])),
    ?assertEqual({ok, undefined}, serve(fun py:last_error/0, [])),
    ?assertEqual(Before, py:last_error()),
    ?assertMatch({ok, ok}, serve(fun() -> py_error:keep(story(<<"inner">>)) end, [])),
    ?assertEqual(Before, py:last_error()).

tail(Function, Args) ->
    py_callback_runner:tail(none, Function, Args, infinity).

tail_is_the_result_of_the_call(_Config) ->
    ok = py_callback:register(identity, fun([Value]) -> Value end),
    ?assertEqual({ok, {error, x}}, tail(<<"identity">>, [{error, x}])),
    ?assertEqual({ok, 3}, tail(fun erlang:'+'/2, [1, 2])),
    [
        ?assertEqual({error, {Kind, reason}}, tail(fun() -> erlang:raise(Kind, reason, []) end, []))
     || Kind <- [error, exit, throw]
    ],
    ?assertEqual([], py_suite:flush()).

%% What it asks of contexts is a part of what the call was, and ends at its deadline.
tail_belongs_to_its_chain(_Config) ->
    Callback = make_ref(),
    Tail = fun(Parent, Function, Deadline) -> py_callback_runner:tail(Parent, Function, [], Deadline) end,
    ?assertEqual({ok, {none, 7}}, Tail(none, fun current/0, 7)),
    ?assertEqual(
        {ok, {ok, {Callback, 9}}},
        py_callback_runner:serve(Callback, fun() -> Tail(Callback, fun current/0, 9) end, [], 9)
    ),
    ?assertEqual({ok, {Callback, infinity}}, Tail(Callback, fun current/0, infinity)),
    ?assertEqual({error, {exit, x}}, Tail(Callback, fun() -> exit(x) end, infinity)),
    ?assertEqual(undefined, current()).
