%% A certificate for localhost, by an authority of its own.
-module(py_certificates).

-include_lib("public_key/include/public_key.hrl").

-export([write/1]).

%% Writes `cert.pem', `key.pem' and the authority's `cacerts.pem' into the folder.
-spec write(file:filename()) -> ok.
write(Folder) ->
    Name = #'Extension'{extnID = ?'id-ce-subjectAltName', extnValue = [{dNSName, "localhost"}], critical = false},
    Signed = [{digest, sha256}, {key, {namedCurve, secp256r1}}],
    Chain = #{root => Signed, intermediates => [], peer => [{extensions, [Name]} | Signed]},
    #{server_config := Server, client_config := Client} =
        public_key:pkix_test_data(#{server_chain => Chain, client_chain => Chain}),
    {KeyType, Key} = proplists:get_value(key, Server),
    ok = pem(Folder, "cert.pem", [{'Certificate', proplists:get_value(cert, Server)}]),
    ok = pem(Folder, "key.pem", [{KeyType, Key}]),
    ok = pem(Folder, "cacerts.pem", [{'Certificate', Authority} || Authority <- proplists:get_value(cacerts, Client)]),
    %% All suites have the same folder, and what was there is remembered for two minutes.
    case whereis(ssl_pem_cache) of
        undefined -> ok;
        _ -> ssl:clear_pem_cache()
    end.

pem(Folder, File, Entries) ->
    Encoded = public_key:pem_encode([{Type, Der, not_encrypted} || {Type, Der} <- Entries]),
    file:write_file(filename:join(Folder, File), Encoded).
