-module(compare_usage).

%% Processor time and memory of an OS process with all its descendants. They are read from /proc; elsewhere there is
%% nothing, and those figures are missing.

-export([processor_time/1, memory/1]).

%% In nanoseconds, of what runs and of what has ended and was waited for.
-spec processor_time(pos_integer()) -> non_neg_integer() | unknown.
processor_time(Root) ->
    case stats() of
        #{Root := _} = Stats ->
            %% /proc tells them in ticks, of which there are 100 a second on all common systems.
            lists:sum([maps:get(ticks, maps:get(Pid, Stats)) || Pid <- family(Root, Stats)]) * 10_000_000;
        _ ->
            unknown
    end.

%% Memory that programs have written to, in bytes. What several processes share is divided among them; pages of
%% program files are left out, since they are there once for all.
-spec memory(pos_integer()) -> non_neg_integer() | unknown.
memory(Root) ->
    Stats = stats(),
    Sizes = [Size || is_map_key(Root, Stats), Pid <- family(Root, Stats), Size <- written(Pid)],
    case Sizes of
        [] -> unknown;
        _ -> lists:sum(Sizes)
    end.

written(Pid) ->
    case read(Pid, "smaps_rollup") of
        {ok, Text} ->
            %% Kernels before 5.9 tell only the whole.
            case [Size || Name <- ["Pss_Anon", "Pss_Shmem"], Size <- size(Name, Text)] of
                [] -> size("Pss", Text);
                Sizes -> [lists:sum(Sizes)]
            end;
        {error, _} ->
            []
    end.

size(Name, Text) ->
    case re:run(Text, ["^", Name, ":\\s+([0-9]+) kB"], [multiline, {capture, [1], list}]) of
        {match, [Size]} -> [list_to_integer(Size) * 1024];
        nomatch -> []
    end.

family(Root, Stats) ->
    Children = [Pid || {Pid, #{parent := Parent}} <- maps:to_list(Stats), Parent =:= Root],
    [Root | lists:append([family(Child, Stats) || Child <- Children])].

stats() ->
    case file:list_dir("/proc") of
        {ok, Names} -> maps:from_list([{list_to_integer(Name), Stat} || [First | _] = Name <- Names, First >= $0, First =< $9, Stat <- stat(Name)]);
        {error, _} -> #{}
    end.

%% It may have ended by now.
stat(Pid) ->
    case read(Pid, "stat") of
        {ok, Text} ->
            %% The name, in parentheses, may hold anything.
            [_, Rest] = string:split(Text, ") ", trailing),
            [_State, Parent | Fields] = binary:split(Rest, <<" ">>, [global]),
            {User, System, OfChildren, OfChildrenSystem} = ticks(Fields),
            [#{parent => binary_to_integer(Parent), ticks => User + System + OfChildren + OfChildrenSystem}];
        {error, _} ->
            []
    end.

ticks(Fields) ->
    list_to_tuple([binary_to_integer(Field) || Field <- lists:sublist(Fields, 10, 4)]).

%% Without the server of files, as it is done often.
read(Pid, Name) ->
    Path = lists:flatten(io_lib:format("/proc/~s/~s", [pid(Pid), Name])),
    case file:open(Path, [read, raw, binary]) of
        {ok, File} ->
            Read = file:read(File, 8192),
            ok = file:close(File),
            case Read of
                {ok, Text} -> {ok, Text};
                _ -> {error, gone}
            end;
        {error, _} = Error ->
            Error
    end.

pid(Pid) when is_integer(Pid) -> integer_to_list(Pid);
pid(Pid) -> Pid.
