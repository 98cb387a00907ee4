-module(py_output_writer).
-include("py_doc.hrl").
?MODULEDOC(false).

%% Writes to one group leader by Erlang's I/O protocol, or to the logger, and says natively what is done with, so that
%% the answers of those who have printed can go out. A group leader that does not answer in time gets nothing more until
%% it has answered; what comes for it meanwhile is lost.

-export([start_link/3, run/4]).

-type to() :: pid() | logger.

-record(writer, {
    parent :: pid(),
    to :: to(),
    handle :: py_nif:handle(),
    context :: pid(),
    %% Of the group leader.
    monitor :: reference() | none
}).

%% So much is written at a time.
-define(BATCH, 65_536).

-spec start_link(to(), py_nif:handle(), Context :: pid()) -> pid().
start_link(To, Handle, Context) ->
    proc_lib:spawn_link(?MODULE, run, [self(), To, Handle, Context]).

-spec run(pid(), to(), py_nif:handle(), pid()) -> ok.
run(Parent, To, Handle, Context) ->
    Monitor =
        case To of
            logger -> none;
            Leader -> erlang:monitor(process, Leader)
        end,
    idle(#writer{parent = Parent, to = To, handle = Handle, context = Context, monitor = Monitor}).

idle(#writer{monitor = Monitor} = Writer) ->
    receive
        {log, _, _, _, _} = Record ->
            ok = py_logging:record(Record, Writer#writer.context),
            ok = accepted([Record], Writer),
            idle(Writer);
        {output, _, _, _, _, _} = Output when Writer#writer.to =:= logger ->
            ok = py_logging:output(Output, Writer#writer.context),
            ok = accepted([Output], Writer),
            idle(Writer);
        {output, _, _, _, _, Size} = Output ->
            write(more([Output], Size), Writer);
        {'DOWN', Monitor, process, _, _} ->
            gone(Writer);
        stop ->
            ok
    end.

%% What has come by now goes together.
more(Outputs, Sum) when Sum >= ?BATCH ->
    lists:reverse(Outputs);
more(Outputs, Sum) ->
    receive
        {output, _, _, _, _, Size} = Output -> more([Output | Outputs], Sum + Size)
    after 0 -> lists:reverse(Outputs)
    end.

write(Outputs, #writer{to = Leader} = Writer) ->
    Text = iolist_to_binary([Text || {output, _, _, _, Text, _} <- Outputs]),
    case put_chars(Leader, Text) of
        ok ->
            ok = accepted(Outputs, Writer),
            idle(Writer);
        {error, _} ->
            ok = lost(Outputs, Writer),
            idle(Writer);
        {late, Ref} ->
            ok = lost(Outputs, Writer),
            late(Ref, Writer)
    end.

put_chars(Leader, Text) ->
    %% Devices that know Latin-1 alone end when they are asked to write anything else.
    case is_latin1(Text) orelse io_request(Leader, getopts) of
        {late, _} = Late ->
            Late;
        Options when is_list(Options) ->
            case proplists:get_value(encoding, Options) of
                latin1 -> io_request(Leader, {put_chars, unicode, escaped(Text)});
                _ -> io_request(Leader, {put_chars, unicode, Text})
            end;
        _ ->
            io_request(Leader, {put_chars, unicode, Text})
    end.

%% In UTF-8, other characters begin with bytes from 16#C4 on.
is_latin1(Text) ->
    nomatch =:= re:run(Text, <<"[\\xC4-\\xFF]">>, [{capture, none}]).

escaped(Text) ->
    [
        case C < 256 of
            true -> C;
            false -> io_lib:format("\\x{~.16b}", [C])
        end
     || C <- unicode:characters_to_list(Text)
    ].

%% A busy connection to another node makes nobody wait.
io_request(Leader, Request) ->
    Ref = erlang:monitor(process, Leader),
    case erlang:send(Leader, {io_request, self(), Ref, Request}, [nosuspend]) of
        ok ->
            receive
                {io_reply, Ref, Answer} ->
                    _ = erlang:demonitor(Ref, [flush]),
                    Answer;
                {'DOWN', Ref, process, _, Reason} ->
                    {error, Reason}
            after py_config:get(output_timeout) -> {late, Ref}
            end;
        nosuspend ->
            _ = erlang:demonitor(Ref, [flush]),
            {error, busy}
    end.

%% Until the answer comes all the same.
late(Ref, Writer) ->
    receive
        {io_reply, Ref, _Answer} ->
            _ = erlang:demonitor(Ref, [flush]),
            idle(Writer);
        {'DOWN', Ref, process, _, _} ->
            idle(Writer);
        {output, _, _, _, _, Size} = Output ->
            ok = lost(more([Output], Size), Writer),
            late(Ref, Writer);
        stop ->
            ok
    end.

%% The group leader has ended. The parent may not know yet, and send more.
gone(#writer{parent = Parent} = Writer) ->
    Parent ! {py_output_gone, self()},
    drain(Writer).

drain(Writer) ->
    receive
        {output, _, _, _, _, Size} = Output ->
            ok = lost(more([Output], Size), Writer),
            drain(Writer);
        stop ->
            ok
    end.

lost(Outputs, #writer{parent = Parent, to = Leader} = Writer) ->
    Parent ! {py_output_lost, Leader, lists:sum([Size || {output, _, _, _, _, Size} <- Outputs])},
    accepted(Outputs, Writer).

accepted(Messages, #writer{handle = Handle}) ->
    Done = lists:foldl(fun count/2, #{}, Messages),
    maps:foreach(
        fun(Request, {Items, Bytes}) -> _ = py_nif:output_accepted(Handle, Request, Items, Bytes) end,
        Done
    ).

count(Message, Done) ->
    Request = element(2, Message),
    {Items, Bytes} = maps:get(Request, Done, {0, 0}),
    Done#{Request => {Items + 1, Bytes + element(tuple_size(Message), Message)}}.
