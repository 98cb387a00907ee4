-module(ets_reader_app).
-behaviour(application).

-export([start/2, stop/1]).

%% What Python may call: the names are those in quotes.py.
-define(OFFERED, [{price, ets_reader_prices, price}, {basket, ets_reader_basket, items}]).

-spec start(application:start_type(), term()) -> {ok, pid()} | {error, term()}.
start(_Type, _Args) ->
    lists:foreach(fun({Name, Module, Function}) -> ok = py:register_function(Name, Module, Function) end, ?OFFERED),
    ets_reader_sup:start_link().

-spec stop(term()) -> ok.
stop(_State) ->
    lists:foreach(fun({Name, _, _}) -> py:unregister_function(Name) end, ?OFFERED).
