-module(py_logging).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(gen_server).

%% What Python code logs, as events of Erlang's logger, for the process on whose behalf the code runs. The server tells
%% the native side which levels the logger lets through, whenever that asks: the logger itself tells nobody of changes.

-export([start_link/0, configure/1, record/2, output/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).
-export_type([options/0]).

-type options() :: #{level => logger:level() | all | none, format => unicode:chardata() | undefined}.
-type error() ::
    none
    | {
        Class :: binary(),
        Module :: binary(),
        Message :: binary(),
        [{File :: binary(), Line :: non_neg_integer(), Function :: binary(), Text :: binary()}],
        Traceback :: binary()
    }.

%% Where OTP's logger keeps the metadata of a process, since OTP 21.
-define(METADATA, '$logger_metadata$').

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

-spec init([]) -> {ok, []} | {stop, not_running}.
init([]) ->
    case py_nif:log_open() of
        ok ->
            ok = tell_levels(),
            {ok, []};
        {error, Reason} ->
            {stop, Reason}
    end.

-spec handle_call(term(), gen_server:from(), []) -> {reply, {error, unexpected_call}, []}.
handle_call(_Request, _From, State) ->
    {reply, {error, unexpected_call}, State}.

-spec handle_cast(term(), []) -> {noreply, []}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), []) -> {noreply, []}.
handle_info(py_levels, State) ->
    ok = tell_levels(),
    {noreply, State};
handle_info(_Message, State) ->
    {noreply, State}.

%% ------------------------------------------------------------------------------------------------
%% Levels

tell_levels() ->
    Modules = [{atom_to_binary(Module), number(Level)} || {Module, Level} <- logger:get_module_level()],
    py_nif:log_levels(number(primary()), Modules).

primary() ->
    maps:get(level, logger:get_primary_config()).

%% What the native side knew may have changed since; it learns that from here.
is_allowed(Level, Name) ->
    Modules = [{atom_to_binary(Module), Own} || {Module, Own} <- logger:get_module_level()],
    Allowed = number(Level) =< number(governing(Name, Modules)),
    _ = Allowed orelse tell_levels(),
    Allowed.

%% The level of a module `a.b' is that of the Python loggers `a.b', `a.b.c' and so on.
governing(_Name, []) ->
    primary();
governing(Name, Modules) ->
    case {lists:keyfind(Name, 1, Modules), string:split(Name, <<".">>, trailing)} of
        {{_, Level}, _} -> Level;
        {false, [Above, _]} -> governing(Above, Modules);
        {false, _} -> primary()
    end.

number(none) -> -1;
number(emergency) -> 0;
number(alert) -> 1;
number(critical) -> 2;
number(error) -> 3;
number(warning) -> 4;
number(notice) -> 5;
number(info) -> 6;
number(debug) -> 7;
number(all) -> 10.

%% Of Python's numbers.
level(Number) when Number < 20 -> debug;
level(Number) when Number < 25 -> info;
level(Number) when Number < 30 -> notice;
level(Number) when Number < 40 -> warning;
level(Number) when Number < 50 -> error;
level(Number) when Number < 60 -> critical;
level(Number) when Number < 70 -> alert;
level(_Number) -> emergency.

python_number(all) -> 0;
python_number(debug) -> 10;
python_number(info) -> 20;
python_number(notice) -> 25;
python_number(warning) -> 30;
python_number(error) -> 40;
python_number(critical) -> 50;
python_number(alert) -> 60;
python_number(emergency) -> 70;
python_number(none) -> 1_000.

?DOC(false).
-spec configure(options()) -> ok | {error, {bad_option, term(), term()} | not_running}.
configure(Options) ->
    case maps:to_list(maps:without([level, format], Options)) of
        [{Key, Value} | _] -> {error, {bad_option, Key, Value}};
        [] -> configure(maps:get(level, Options, all), maps:get(format, Options, undefined))
    end.

configure(Level, Format) ->
    case {is_level(Level), text(Format)} of
        {false, _} ->
            {error, {bad_option, level, Level}};
        {true, error} ->
            {error, {bad_option, format, Format}};
        {true, Text} ->
            %% Without its process nobody would take what is logged.
            case whereis(?MODULE) of
                undefined -> {error, not_running};
                _ -> py_nif:log_set_up(python_number(Level), Text)
            end
    end.

is_level(Level) ->
    lists:member(Level, [all, debug, info, notice, warning, error, critical, alert, emergency, none]).

text(undefined) ->
    none;
text(Format) ->
    try unicode:characters_to_binary(Format) of
        Text when is_binary(Text) -> Text;
        _ -> error
    catch
        error:badarg -> error
    end.

%% ------------------------------------------------------------------------------------------------
%% Records

?DOC(false).
-spec record(py_output:message(), Context :: pid()) -> ok.
record({log, _Request, Client, {Number, Name, Text, File, Line, Function, Time, Error, Extra, Thread}, _Size}, Context) ->
    Level = level(Number),
    Meta = maps:merge(
        told([{function, Function}, {thread, Thread}]),
        (place(File, Line))#{logger_name => Name, time => Time}
    ),
    event(Level, Name, said(Text, Error), maps:merge(Meta, failure(Error, Extra)), Client, Context).

?DOC(false).
%% Each line by itself.
-spec output(py_output:message(), Context :: pid()) -> ok.
output({output, _Request, Client, Stream, Text, _Size}, Context) ->
    Level =
        case Stream of
            stdout -> notice;
            stderr -> warning
        end,
    Name = atom_to_binary(Stream),
    Lines = binary:split(string:trim(Text, trailing, "\n"), <<"\n">>, [global]),
    lists:foreach(fun(Line) -> event(Level, Name, Line, #{logger_name => Name}, Client, Context) end, Lines).

%% The logger wants to know which Erlang code logs, and no Erlang code does.
-dialyzer({nowarn_function, event/6}).
event(Level, Name, Text, Meta, Client, Context) ->
    case is_allowed(Level, Name) of
        true ->
            %% No domain: the default handler would take none of it.
            All = maps:merge(of_process(Client, Context), Meta#{py_context => Context}),
            %% What the macros of logger.hrl call, once they have asked whether the level is let through.
            logger:macro_log(#{}, Level, Text, All);
        false ->
            ok
    end.

%% The process on whose behalf the code runs, as long as it is there, and what it wants to be logged with it.
of_process(none, Context) ->
    of_process(Context, Context);
of_process(Pid, Context) ->
    case process_info(Pid, [group_leader, dictionary]) of
        [{group_leader, Leader}, {dictionary, Dictionary}] ->
            case lists:keyfind(?METADATA, 1, Dictionary) of
                {?METADATA, #{} = Metadata} -> maps:merge(#{pid => Pid, gl => Leader}, Metadata);
                _ -> #{pid => Pid, gl => Leader}
            end;
        undefined when Pid =:= Context ->
            #{pid => Pid};
        undefined ->
            (of_process(Context, Context))#{pid => Pid}
    end.

told(Pairs) ->
    maps:from_list([Pair || {_, Value} = Pair <- Pairs, Value =/= none]).

place(none, _Line) -> #{};
place(File, Line) -> #{file => unicode:characters_to_list(File), line => Line}.

said(Text, none) -> Text;
said(Text, {_, _, _, _, Traceback}) -> <<Text/binary, "\n", Traceback/binary>>.

-spec failure(error(), map()) -> map().
failure(Error, Extra) ->
    maps:merge(extra(Extra), exception(Error)).

extra(Extra) when map_size(Extra) =:= 0 -> #{};
extra(Extra) -> #{extra => Extra}.

exception(none) ->
    #{};
exception({Class, Module, Message, Frames, Traceback}) ->
    #{
        exception => #{
            type => Class,
            module => Module,
            message => Message,
            traceback => Frames,
            traceback_text => Traceback
        }
    }.
