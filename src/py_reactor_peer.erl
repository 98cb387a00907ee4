-module(py_reactor_peer).
-include("py_doc.hrl").
?MODULEDOC(false).

%% Addresses as Python's sockets give them.

-export([address/1, listening/1, local/1]).

-spec address({inet:ip_address(), inet:port_number()} | {local, binary() | string()}) ->
    {binary(), inet:port_number()} | binary().
address({local, Path}) -> unicode:characters_to_binary(Path);
address({Ip, Port}) -> {text(Ip), Port}.

%% Where a listener listens.
-spec listening({inet:ip_address(), inet:port_number()} | binary()) -> {binary(), inet:port_number()} | binary().
listening(Path) when is_binary(Path) -> Path;
listening(Address) -> address(Address).

-spec local(gen_tcp:socket()) -> {binary(), inet:port_number()} | binary() | none.
local(Socket) ->
    case inet:sockname(Socket) of
        {ok, Address} -> address(Address);
        {error, _} -> none
    end.

%% Several times as fast as inet:ntoa/1.
text({A, B, C, D}) ->
    <<
        (integer_to_binary(A))/binary, $., (integer_to_binary(B))/binary, $., (integer_to_binary(C))/binary, $.,
        (integer_to_binary(D))/binary
    >>;
text(Ip) ->
    list_to_binary(inet:ntoa(Ip)).
