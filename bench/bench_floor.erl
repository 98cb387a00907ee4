-module(bench_floor).

%% What conversion is measured against, see floor/src/lib.rs.

-export([load/2, build_terms/0, make_terms/0, copy/2]).
-nifs([load/2, build_terms/0, make_terms/0, copy/2]).
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
