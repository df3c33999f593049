// oidc-provider (OpenID certified) with one client and one resource whose tokens are JWTs (RFC 9068) signed with the algorithm given.
// Prints its issuer, then serves until stdin ends.
import { createRequire } from 'node:module';
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { pathToFileURL } from 'node:url';

const [, , folder, alg] = process.argv;
const require = createRequire(`${folder}/`);
const { default: Provider } = await import(pathToFileURL(require.resolve('oidc-provider')));

const kinds = {
  RS256: ['rsa', { modulusLength: 2048 }],
  PS256: ['rsa', { modulusLength: 2048 }],
  ES256: ['ec', { namedCurve: 'P-256' }],
  EdDSA: ['ed25519', {}],
};
const key = generateKeyPairSync(...kinds[alg]).privateKey.export({ format: 'jwk' });
const second = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' });

const server = createServer();
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const issuer = `http://127.0.0.1:${server.address().port}`;
const provider = new Provider(issuer, {
  clients: [{
    client_id: 'agent-1', client_secret: 'agent-secret', grant_types: ['client_credentials'], redirect_uris: [], response_types: [],
    token_endpoint_auth_method: 'client_secret_post',
  }],
  jwks: { keys: [{ ...key, use: 'sig', alg, kid: 'signing' }, { ...second, use: 'sig', alg: 'RS256', kid: 'other' }] },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => 'urn:portcullis',
      getResourceServerInfo: (_, resource) => ({
        scope: 'connect', audience: resource, accessTokenFormat: 'jwt', accessTokenTTL: 600, jwt: { sign: { alg } },
      }),
    },
  },
  extraTokenClaims: () => ({ groups: ['dba', 'sre'], roles: 'reader writer' }),
});
server.on('request', provider.callback());
console.log(issuer);

process.stdin.resume();
await once(process.stdin, 'end');
server.closeAllConnections();
server.close();
