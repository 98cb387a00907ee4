-module(compare_adapter).

%% What a library, or another way to run Python from Erlang, has to be able to do in order to be compared. Each
%% adapter runs in a node of its own, in which nothing else of this project but `compare_side' is loaded; so
%% libraries whose modules have the same names do not meet. compare_processes is the shortest one.
%%
%% An adapter of your own is a module in a file of its own. `bench/compare/run.sh --adapter FILE --path EBIN' compiles
%% it and starts its node with those folders on the code path.

-export_type([settings/0, about/0, job/0, answer/0]).

-type settings() :: #{
    %% How many workers (contexts, OS processes, interpreters) there should be.
    workers := pos_integer(),
    %% The folder that has compare_work.py, which workers must be able to import.
    folder := file:filename(),
    %% The Python that the library was built for: a program.
    python := file:filename(),
    %% What tells rows with the same adapter from each other; `default' for one of your own.
    variant := term()
}.
-type job() ::
    call | callers | bytes_10k | bytes_10m | document | primes | text | syntax | coroutines | start.
-type about() :: #{
    title := unicode:chardata(),
    %% One call takes many lists of arguments: call_many/4 is used, and figures are per list.
    batch => boolean(),
    %% Jobs that are left out, and why. The reason is shown.
    skips => #{job() => unicode:chardata()}
}.
-type answer() :: {ok, term()} | {error, term()}.

%% May be asked before start/1.
-callback about(settings()) -> about().

%% Starts the library with its workers. They may come to life later, at their first call.
-callback start(settings()) -> {ok, State :: term()} | {skip, Reason :: unicode:chardata()}.

%% Runs in a process that will call, before its first call. Such processes have numbers from 1; those with the
%% numbers from 1 to that of the workers must get different workers, as far as the library lets its user choose.
-callback client(State :: term(), Number :: pos_integer()) -> Client :: term().

%% Modules and functions are atoms, texts are binaries in UTF-8, and other binaries are bytes.
-callback call(Client :: term(), Module :: atom(), Function :: atom(), Args :: [term()]) -> answer().

%% The same for each of several lists of arguments, with the answers in their order.
-callback call_many(Client :: term(), Module :: atom(), Function :: atom(), [Args :: [term()]]) -> [answer()].

%% The same for a coroutine function, all at the same time. Without it one call runs all of them,
%% `asyncio.run(gather(...))' in Python.
-callback gather(Client :: term(), Module :: atom(), Function :: atom(), [Args :: [term()]]) -> [answer()].

-callback stop(State :: term()) -> ok.

-optional_callbacks([call_many/4, gather/4]).
