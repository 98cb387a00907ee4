-module(compare_py).
-behaviour(compare_adapter).

%% This library: contexts of one mode, called one of the ways that there are.

-export([about/1, start/1, client/2, call/4, call_many/4, gather/4, stop/1]).

-define(INLINE_FROM, [3, 14]).

-spec about(compare_adapter:settings()) -> compare_adapter:about().
about(#{variant := {Mode, mailbox}}) ->
    #{title => ["erlang_python, ", atom_to_binary(Mode)]};
about(#{variant := {Mode, inline}}) ->
    #{
        title => ["erlang_python, ", atom_to_binary(Mode), ", inline"],
        skips => maps:merge(
            long([bytes_10m, primes, text, syntax], <<"inline is for calls of microseconds">>),
            #{
                coroutines => <<"coroutines need the mailbox">>,
                start => <<"as without inline">>
            }
        )
    };
about(#{variant := {Mode, batch}}) ->
    #{
        title => ["erlang_python, ", atom_to_binary(Mode), ", batches"],
        batch => true
    }.

long(Jobs, Reason) ->
    maps:from_list([{Job, Reason} || Job <- Jobs]).

-spec start(compare_adapter:settings()) -> {ok, tuple()} | {skip, unicode:chardata()}.
start(#{workers := Workers, folder := Folder, variant := {Mode, Way}}) ->
    ok = application:load(erlang_python),
    ok = application:set_env(erlang_python, paths, [Folder]),
    {ok, _} = application:ensure_all_started(erlang_python),
    case missing(Mode, Way) of
        none ->
            Contexts = [
                begin
                    {ok, Context} = py_context:new(#{mode => Mode}),
                    Context
                end
             || _ <- lists:seq(1, Workers)
            ],
            case tried(hd(Contexts), Way) of
                ok -> {ok, {list_to_tuple(Contexts), Way}};
                Reason -> {skip, Reason}
            end;
        Reason ->
            {skip, Reason}
    end.

missing(owngil, Way) ->
    case py:execution_mode() of
        owngil -> missing_way(Way);
        _ -> <<"this Python has no interpreters with GILs of their own">>
    end;
missing(worker, Way) ->
    missing_way(Way).

missing_way(inline) ->
    {ok, Version} = py:version(),
    [Major, Minor | _] = [list_to_integer(Part) || Part <- string:lexemes(binary_to_list(Version), ".")],
    case [Major, Minor] >= ?INLINE_FROM of
        true -> none;
        false -> <<"inline dispatch needs Python 3.14 or newer">>
    end;
missing_way(_) ->
    none.

%% Where it is refused, the reason is better than a row of refusals.
tried(Context, inline) ->
    case py:call(Context, math, sqrt, [16.0], #{dispatch => inline}) of
        {ok, 4.0} -> ok;
        {error, Reason} -> io_lib:format("inline dispatch is refused: ~0tp", [Reason])
    end;
tried(_Context, _Way) ->
    ok.

-spec client({tuple(), atom()}, pos_integer()) -> {pid(), atom()}.
client({Contexts, Way}, Number) ->
    {element((Number - 1) rem tuple_size(Contexts) + 1, Contexts), Way}.

-spec call({pid(), atom()}, atom(), atom(), [term()]) -> compare_adapter:answer().
call({Context, inline}, Module, Function, Args) ->
    py:call(Context, Module, Function, Args, #{dispatch => inline});
call({Context, _}, Module, Function, Args) ->
    py:call(Context, Module, Function, Args).

-spec call_many({pid(), atom()}, atom(), atom(), [[term()]]) -> [compare_adapter:answer()].
call_many({Context, batch}, Module, Function, Lists) ->
    py:call_many(Context, Module, Function, Lists).

-spec gather({pid(), atom()}, atom(), atom(), [[term()]]) -> [compare_adapter:answer()].
gather({Context, _}, Module, Function, Lists) ->
    Refs = [
        begin
            {ok, Ref} = py_context:submit(Context, Module, Function, Args),
            Ref
        end
     || Args <- Lists
    ],
    [py:async_await(Ref, infinity) || Ref <- Refs].

-spec stop({tuple(), atom()}) -> ok.
stop({Contexts, _}) ->
    lists:foreach(fun py_context:stop/1, tuple_to_list(Contexts)),
    application:stop(erlang_python).
