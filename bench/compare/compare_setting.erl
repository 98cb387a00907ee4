-module(compare_setting).

%% What a run was measured on.

-export([all/3]).

-spec all(#{library := file:filename(), python := file:filename(), _ => _}, compare_jobs:plan(), integer()) -> map().
all(#{library := Library, python := Python}, #{rounds := Rounds, turn := Turn, workers := Workers, quick := Quick}, Took) ->
    {{Y, M, D}, _} = calendar:local_time(),
    #{
        otp => list_to_binary(erlang:system_info(otp_release)),
        erts => list_to_binary(erlang:system_info(version)),
        python => string:trim(list_to_binary(os:cmd(["'", Python, "' -c 'import platform; print(platform.python_version())'"]))),
        library => library(Library),
        processor => found("/proc/cpuinfo", "model name\\s*:\\s*(.+)"),
        cores => erlang:system_info(logical_processors_available),
        schedulers => erlang:system_info(schedulers_online),
        memory => found("/proc/meminfo", "MemTotal:\\s*([0-9]+)"),
        system => system(),
        load => found("/proc/loadavg", "^(\\S+)"),
        date => iolist_to_binary(io_lib:format("~b-~2..0b-~2..0b", [Y, M, D])),
        rounds => Rounds,
        turn => Turn,
        workers => Workers,
        quick => Quick,
        took => Took
    }.

library(Folder) ->
    {ok, [{application, _, Keys}]} = file:consult(filename:join(Folder, "erlang_python.app")),
    iolist_to_binary(proplists:get_value(vsn, Keys)).

system() ->
    {_, Name} = os:type(),
    Version =
        case os:version() of
            {A, B, C} -> io_lib:format("~b.~b.~b", [A, B, C]);
            Text -> Text
        end,
    iolist_to_binary(io_lib:format("~ts ~ts", [Name, Version])).

found(File, Pattern) ->
    case file:read_file(File) of
        {ok, Text} ->
            case re:run(Text, Pattern, [{capture, [1], binary}]) of
                {match, [Found]} -> Found;
                nomatch -> null
            end;
        {error, _} ->
            null
    end.
