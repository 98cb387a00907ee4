%% The room of the chat: hears what members say, wherever they are connected, and tells it all contexts.
%%
%% All hear everything in one order, since it all passes through this process.
-module(chat_room).
-behaviour(gen_server).

-export([start_link/1, members/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-spec start_link(Listener :: term()) -> gen_server:start_ret().
start_link(Listener) ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, Listener, []).

-spec members(pid()) -> [binary()].
members(Room) ->
    gen_server:call(Room, members).

init(Listener) ->
    {ok, #{listener => Listener, members => []}}.

handle_call(members, _From, #{members := Members} = State) ->
    {reply, lists:sort(Members), State}.

handle_cast(_Message, State) ->
    {noreply, State}.

%% From Python.
handle_info({<<"joined">>, Name}, #{members := Members} = State) ->
    deliver([<<"* ">>, Name, <<" is here">>], State#{members := [Name | Members]});
handle_info({<<"left">>, Name}, #{members := Members} = State) ->
    deliver([<<"* ">>, Name, <<" is gone">>], State#{members := lists:delete(Name, Members)});
handle_info({<<"said">>, Name, Text}, State) ->
    deliver([Name, <<": ">>, Text], State);
%% A context has delivered, or died: then its members are gone, too.
handle_info({async_result, _Task, _Result}, State) ->
    {noreply, State}.

deliver(Line, #{listener := Listener} = State) ->
    Text = iolist_to_binary(Line),
    #{contexts := Reactors} = py_reactor:info(Listener),
    [
        py_context:submit(Context, chat, deliver, [Text])
     || #{pid := Reactor} <- Reactors, {ok, Context} <- [py_reactor_context:context(Reactor)]
    ],
    {noreply, State}.
