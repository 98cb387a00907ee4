-module(bench_floor).

%% What conversion is measured against, see floor/src/lib.rs.

-export([load/2, build_terms/0, make_terms/0, copy/1, copy_new/1]).
-nifs([load/2, build_terms/0, make_terms/0, copy/1, copy_new/1]).
-on_load(load_library/0).

load_library() ->
    erlang:load_nif(filename:rootname(code:which(?MODULE)), 0).

%% Reads the values to build from.
-spec load(ints | floats | texts | map | tree, term()) -> ok.
load(_Kind, _Term) -> erlang:nif_error(not_loaded).

%% Nanoseconds of building the terms and freeing them.
-spec build_terms() -> non_neg_integer().
build_terms() -> erlang:nif_error(not_loaded).

%% The same terms, to look at.
-spec make_terms() -> term().
make_terms() -> erlang:nif_error(not_loaded).

%% Nanoseconds of a copy between two buffers of so many bytes.
-spec copy(pos_integer()) -> non_neg_integer().
copy(_Size) -> erlang:nif_error(not_loaded).

%% Nanoseconds of such a copy into memory that is allocated for it and freed again.
-spec copy_new(pos_integer()) -> non_neg_integer().
copy_new(_Size) -> erlang:nif_error(not_loaded).
