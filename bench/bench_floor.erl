-module(bench_floor).

%% What conversion and calls are measured against, see floor/src/lib.rs.

-export([load/2, build_terms/0, make_terms/0, copy/2]).
-export([bare_start/0, bare_submit/2]).
-export([counting/1, count_anew/0, counted/1]).
-nifs([load/2, build_terms/0, make_terms/0, copy/2]).
-nifs([bare_start/0, bare_submit/2]).
-nifs([counting/1, count_anew/0, counted/1]).
-on_load(load_library/0).

load_library() ->
    erlang:load_nif(filename:rootname(code:which(?MODULE)), 0).

%% Reads the values to build from.
-spec load(ints | floats | texts | bytes | map | tree, term()) -> ok.
load(_Kind, _Term) -> erlang:nif_error(not_loaded).

%% Nanoseconds of building the terms and freeing them.
-spec build_terms() -> non_neg_integer().
build_terms() -> erlang:nif_error(not_loaded).

%% The same terms, to look at.
-spec make_terms() -> term().
make_terms() -> erlang:nif_error(not_loaded).

%% Nanoseconds of so many copies of so many bytes, between buffers that were used before.
-spec copy(Size :: pos_integer(), Count :: pos_integer()) -> non_neg_integer().
copy(_Size, _Count) -> erlang:nif_error(not_loaded).

%% Starts the thread of the bare path, see floor/src/bare.rs.
-spec bare_start() -> boolean().
bare_start() -> erlang:nif_error(not_loaded).

%% Answered by `{Ref, {ok, Root}}'.
-spec bare_submit(reference(), [integer()]) -> ok.
bare_submit(_Ref, _Arguments) -> erlang:nif_error(not_loaded).

%% Under callgrind, see floor/src/counted.rs: count from now on, or no longer; nothing was counted so far; write down
%% what was, under this name.
-spec counting(boolean()) -> ok.
counting(_On) -> erlang:nif_error(not_loaded).

-spec count_anew() -> ok.
count_anew() -> erlang:nif_error(not_loaded).

-spec counted(binary()) -> ok.
counted(_Name) -> erlang:nif_error(not_loaded).
