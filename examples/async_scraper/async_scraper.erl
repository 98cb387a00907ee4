%% @doc A scraper in asyncio, started, watched and stopped by Erlang processes.
%%
%% A web site runs in this node. A coroutine reads it, many pages at a time, on the event loop of a context; the same
%% context answers ordinary calls meanwhile. Three coroutines read three sites on one loop. One reads a site that never
%% answers, until its time is over.
%%
%% `main/0' runs it and ends the node; `run.sh' calls it.
-module(async_scraper).

-export([main/0, run/1]).

-export_type([options/0, report/0]).

%% Every key may be left out but the folder.
-type options() :: #{
    mode => owngil | worker,
    %% the folder that scraper.py is in
    folder => file:name_all(),
    pages => pos_integer(),
    %% how long the site takes for each, in milliseconds
    delay => non_neg_integer(),
    quiet => boolean()
}.
-type report() :: #{
    found := map(),
    %% how many ordinary calls the context answered while the coroutine read
    calls := non_neg_integer(),
    three := [map()],
    microseconds := pos_integer()
}.

-define(PAGES, 200).
-define(DELAY, 20).
-define(AT_ONCE, 50).

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

%% @doc Reads the sites, and compares what was found with what is there.
-spec run(options()) -> report().
run(Opts) ->
    {ok, _} = application:ensure_all_started(erlang_python),
    {ok, Context} = py_context:new(#{mode => maps:get(mode, Opts, py:execution_mode())}),
    %% What this process asks for from now on goes to this context.
    ok = py_context_router:bind_context(Context),
    {ok, none} = py:call(sys, 'path.append', [unicode:characters_to_binary(maps:get(folder, Opts))]),
    Pages = maps:get(pages, Opts, ?PAGES),
    Site = async_scraper_site:start_link(#{pages => Pages, delay => maps:get(delay, Opts, ?DELAY)}),
    {Found, Calls, Took} = one(Site),
    #{} = compared(Found, Pages),
    Three = three(Pages, Opts),
    ok = given_up(),
    ok = async_scraper_site:stop(Site),
    ok = py_context_router:unbind_context(),
    ok = py_context:stop(Context),
    Report = #{found => Found, calls => Calls, three => Three, microseconds => Took},
    tell(Report, Pages, Opts),
    Report.

%% One coroutine; for each page that it tells of, the same context is asked something else.
one(#{start := Start}) ->
    Started = erlang:monotonic_time(microsecond),
    Ref = py:async_call(scraper, crawl, [Start, ?AT_ONCE, self()]),
    {Found, Calls} = watch(Ref, 0),
    {Found, Calls, erlang:monotonic_time(microsecond) - Started}.

watch(Ref, Calls) ->
    receive
        {read, <<"/", _/binary>>} ->
            {ok, Calls} = py:call(builtins, int, [Calls]),
            watch(Ref, Calls + 1);
        {async_result, Ref, {ok, Found}} ->
            {Found, Calls};
        {async_result, Ref, {error, Reason}} ->
            exit({crawl_failed, Reason})
    end.

three(Pages, Opts) ->
    Sites = [
        async_scraper_site:start_link(#{pages => Pages, delay => maps:get(delay, Opts, ?DELAY)})
     || _ <- [1, 2, 3]
    ],
    {ok, Three} = py:async_gather([{scraper, crawl, [Start]} || #{start := Start} <- Sites]),
    [#{} = compared(Found, Pages) || Found <- Three],
    lists:foreach(fun async_scraper_site:stop/1, Sites),
    Three.

%% What is not awaited any longer is cancelled: the connection to the site is closed.
given_up() ->
    Site = #{start := Start} = async_scraper_site:start_link(#{pages => 1, delay => hang}),
    Ref = py:async_call(scraper, crawl, [Start]),
    receive
        asked -> ok
    end,
    {error, timeout} = py:async_await(Ref, 10),
    receive
        gone -> ok
    end,
    async_scraper_site:stop(Site).

compared(#{<<"titles">> := Titles, <<"broken">> := Broken} = Found, Pages) ->
    #{titles := Titles, broken := Broken} = async_scraper_site:expected(Pages),
    Found.

tell(#{found := Found, calls := Calls, microseconds := Took}, Pages, Opts) ->
    #{<<"titles">> := Titles, <<"broken">> := Broken} = Found,
    say(Opts, "~b pages and ~b broken links found in ~b ms; one by one they take ~b ms~n", [
        map_size(Titles), map_size(Broken), Took div 1000, Pages * maps:get(delay, Opts, ?DELAY)
    ]),
    say(Opts, "the same context answered ~b calls meanwhile~n", [Calls]),
    say(Opts, "three sites were read together on one loop~n", []),
    say(Opts, "a site that does not answer was given up~n", []).

say(#{quiet := true}, _Format, _Args) -> ok;
say(_Opts, Format, Args) -> io:format(Format, Args).
