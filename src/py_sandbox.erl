-module(py_sandbox).
-include("py_doc.hrl").
?MODULEDOC("""
What Python code in a context may do: the option `sandbox` of a context or a pool.

`default` refuses what would damage the node, and starting operating system processes. `strict` refuses files,
network, threads and native code, too. A map says it key by key, where `base`, `default` if missing, is what holds for
the keys that are not there:

| key | `default` | `strict` | what it may be |
|---|---|---|---|
| `base` | | | `default`, `strict` |
| `network` | `all` | `none` | `all`, `none`, or a list of `{Host, Port}` that may be connected to, and listened on; either may be `any` |
| `read` | `all` | `none` | `all`, `none`, or a list of folders whose files may be read |
| `write` | `all` | `none` | `all`, `none`, or a list of folders whose files may be written |
| `subprocess` | `false` | `false` | whether operating system processes may be started with `subprocess` and `os.posix_spawn`; their exit statuses are kept from the first such context on (`os:set_signal(sigchld, default)`) |
| `ctypes` | `true` | `false` | whether C functions may be called by their names |
| `native` | `true` | `false` | whether extension modules may be loaded that are not part of the Python installation |
| `imports` | `all` | `all` | `all`, `{allow, Names}`, or `{deny, Names}`, of modules and packages |
| `threads` | `true` | `false` | whether threads may be started |
| `environment` | `all` | `none` | `all`, `none`, or a list of the variables that `os.environ` has; for mode `owngil` |
| `seccomp` | `off` | `required` | whether the kernel refuses too: `required`, `best_effort`, or `off`; Linux only, and not with `subprocess` |

A policy is a guard rail for code that one would run anyway, not a wall against code that means harm: that needs a
separate OS process. `docs/security.md` says what each of them refuses, and what none of them does.
""").

-export([check/1, policy/1, refusals/0, refusals/1]).
-export([prepare/1, log_refusal/3, report/1]).
-export_type([policy/0, options/0, checked/0, host/0, name/0]).

-include_lib("kernel/include/logger.hrl").
-include("py_arguments.hrl").

-type name() :: string() | binary() | atom().
-type host() :: any | name().
-type options() :: #{
    base => default | strict,
    network => all | none | [{host(), any | inet:port_number()}],
    read => all | none | [file:filename_all()],
    write => all | none | [file:filename_all()],
    subprocess => boolean(),
    ctypes => boolean(),
    native => boolean(),
    imports => all | {allow | deny, [name()]},
    threads => boolean(),
    environment => all | none | [name()],
    seccomp => required | best_effort | off
}.
-type policy() :: default | strict | options().
-type checked() :: #{
    network := all | [{any | binary(), any | inet:port_number()}],
    read := all | [binary()],
    write := all | [binary()],
    subprocess := boolean(),
    ctypes := boolean(),
    native := boolean(),
    imports := all | {allow | deny, [binary()]},
    threads := boolean(),
    environment := all | [binary()],
    seccomp := required | best_effort | off
}.
-type reason() :: {bad_option, sandbox, What :: term()}.

?DOC("""
The policy with nothing left out: every key is there, names and folders are binaries, the latter absolute, and `none` is
an empty list. The error has the key that is wrong with its value, or what is no policy at all.
""").
-spec check(term()) -> {ok, checked()} | {error, reason()}.
check(default) ->
    {ok, base(default)};
check(strict) ->
    {ok, base(strict)};
check(Policy) when is_map(Policy) ->
    case maps:get(base, Policy, default) of
        Base when Base =:= default; Base =:= strict ->
            each(lists:sort(maps:to_list(maps:remove(base, Policy))), base(Base));
        Wrong ->
            wrong({base, Wrong})
    end;
check(Policy) ->
    wrong(Policy).

?DOC("What was refused in this node, and how often, by the name of the event or the function.").
-spec refusals() -> #{binary() => pos_integer()}.
refusals() ->
    maps:from_list(py_nif:refusals()).

?DOC("What was refused in a context.").
-spec refusals(pid()) -> {ok, #{binary() => pos_integer()}} | {error, term()}.
refusals(Context) ->
    _ = py_arguments:context(?FORM([context], [Context]), Context),
    asked(Context, refusals).

?DOC("""
The policy of a context, with nothing left out, as `check/1` gives it. Where it said `best_effort` and the kernel does
not refuse anything, `seccomp` is `off`.
""").
-spec policy(pid()) -> {ok, checked()} | {error, term()}.
policy(Context) ->
    _ = py_arguments:context(?FORM([context], [Context]), Context),
    asked(Context, policy).

asked(Context, What) ->
    case py_target:info(Context) of
        {error, _} = Error -> Error;
        _ -> py_context:sandbox(Context, What)
    end.

?DOC(false).
%% What a policy needs of the node, before a context starts: while the node ignores SIGCHLD, as it does by default, the
%% system forgets the exit statuses of programs, and `subprocess' takes each for a success.
-spec prepare(checked()) -> ok.
prepare(#{subprocess := true}) -> os:set_signal(sigchld, default);
prepare(#{subprocess := false}) -> ok.

?DOC(false).
%% For the process of a context: something was refused, the 1st, 2nd, 4th, 8th … time.
-spec log_refusal(Id :: term(), Refusal :: binary(), Count :: pos_integer()) -> ok.
log_refusal(Id, Refusal, Count) ->
    ?LOG(
        level(Refusal, Count),
        #{label => {py_sandbox, refused}, context => Id, pid => self(), refusal => Refusal, count => Count},
        %% No domain: the default handler would take none of it.
        #{report_cb => fun ?MODULE:report/1}
    ).

%% From 3.14 on `concurrent.futures', which asyncio imports, tries that once and goes on without.
level(<<"_interpreters">>, 1) -> info;
level(_Refusal, _Count) -> warning.

?DOC(false).
-spec report(logger:report()) -> {io:format(), [term()]}.
report(#{context := Context, refusal := Refusal, count := 1}) ->
    {"Python context ~p: its sandbox has refused ~ts", [Context, Refusal]};
report(#{context := Context, refusal := Refusal, count := Count}) ->
    {"Python context ~p: its sandbox has refused ~ts ~b times by now", [Context, Refusal, Count]}.

base(default) ->
    #{
        network => all,
        read => all,
        write => all,
        subprocess => false,
        ctypes => true,
        native => true,
        imports => all,
        threads => true,
        environment => all,
        seccomp => off
    };
base(strict) ->
    #{
        network => [],
        read => [],
        write => [],
        subprocess => false,
        ctypes => false,
        native => false,
        imports => all,
        threads => false,
        environment => [],
        seccomp => required
    }.

each([{Key, Value} | Options], Checked) ->
    try is_map_key(Key, Checked) andalso {good, normal(Key, Value)} of
        {good, Good} -> each(Options, Checked#{Key := Good});
        false -> wrong({Key, Value})
    catch
        %% Of what kind it is does not matter: lists may be improper, strings no Unicode.
        error:_ -> wrong({Key, Value})
    end;
each([], #{subprocess := true, seccomp := Seccomp}) when Seccomp =/= off ->
    %% The kernel would refuse what the policy allows.
    wrong({subprocess, seccomp});
each([], Checked) ->
    {ok, Checked}.

wrong(What) ->
    {error, {bad_option, sandbox, What}}.

normal(network, all) -> all;
normal(network, none) -> [];
normal(network, Places) when is_list(Places) -> lists:usort([place(Place) || Place <- Places]);
normal(Key, all) when Key =:= read; Key =:= write -> all;
normal(Key, none) when Key =:= read; Key =:= write -> [];
normal(Key, Folders) when Key =:= read; Key =:= write -> lists:usort([folder(Folder) || Folder <- Folders]);
normal(Key, Allowed) when Key =:= subprocess; Key =:= ctypes; Key =:= native; Key =:= threads ->
    case is_boolean(Allowed) of
        true -> Allowed;
        false -> error(badarg)
    end;
normal(imports, all) -> all;
normal(imports, {Which, Names}) when Which =:= allow; Which =:= deny ->
    {Which, lists:usort([module_name(Name) || Name <- Names])};
normal(environment, all) -> all;
normal(environment, none) -> [];
normal(environment, Names) -> lists:usort([variable(Name) || Name <- Names]);
normal(seccomp, When) when When =:= required; When =:= best_effort; When =:= off -> When.

place({Host, any}) -> {host(Host), any};
place({Host, Port}) when is_integer(Port), Port >= 0, Port =< 65535 -> {host(Host), Port}.

%% An address has many spellings, and Python is told of one; names differ in no case.
host(any) ->
    any;
host(Host) ->
    Name = unicode:characters_to_list(name(Host)),
    case inet:parse_strict_address(Name) of
        {ok, Address} -> unicode:characters_to_binary(inet:ntoa(Address));
        {error, einval} -> unicode:characters_to_binary(string:lowercase(Name))
    end.

%% A relative folder is one of the moment: the node may change its own, a context may not.
folder(Folder) when is_list(Folder); is_binary(Folder) ->
    Path = filename:absname(Folder),
    Bytes = encoded(Path),
    true = Folder =/= "" andalso Folder =/= <<>> andalso not has_zero(Bytes),
    Bytes.

encoded(Path) when is_binary(Path) -> Path;
encoded(Path) -> <<_/binary>> = unicode:characters_to_binary(Path, unicode, file:native_name_encoding()).

module_name(Name) ->
    Text = name(Name),
    [] = [Part || Part <- binary:split(Text, <<".">>, [global]), Part =:= <<>>],
    Text.

variable(Name) ->
    Text = name(Name),
    nomatch = binary:match(Text, <<"=">>),
    Text.

name(Name) when is_atom(Name) ->
    name(atom_to_binary(Name));
name(Name) when is_list(Name); is_binary(Name) ->
    Text = <<_, _/binary>> = unicode:characters_to_binary(Name),
    false = has_zero(Text),
    Text.

has_zero(Text) ->
    binary:match(Text, <<0>>) =/= nomatch.
