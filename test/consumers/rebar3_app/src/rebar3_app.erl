-module(rebar3_app).
-export([main/0]).

main() ->
    {ok, _} = application:ensure_all_started(erlang_python),
    io:format("answer: ~p~n", [py:call(math, sqrt, [16])]).
