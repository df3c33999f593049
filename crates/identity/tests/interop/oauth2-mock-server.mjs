// oauth2-mock-server with the claims an agent's token would have. Prints its issuer, then serves until stdin ends.
// A token request's `change` (JSON) changes the token's claims; `POST /rotate` replaces the keys.
import { createRequire } from 'node:module';
import { once } from 'node:events';

const require = createRequire(`${process.argv[2]}/`);
const { OAuth2Server } = require('oauth2-mock-server');

const server = new OAuth2Server();
await server.issuer.keys.generate('RS256');
server.service.on('beforeTokenSigning', (token, request) => {
  Object.assign(token.payload, { aud: 'portcullis', sub: 'agent-1', client_id: 'agent-1', groups: ['dba', 'sre'] });
  if (request.body?.change) Object.assign(token.payload, JSON.parse(request.body.change));
  for (const name of Object.keys(token.payload)) if (token.payload[name] === null) delete token.payload[name];
});
await server.start(0, '127.0.0.1');
server.issuer.url = `http://127.0.0.1:${server.address().port}`;
console.log(server.issuer.url);

process.stdin.on('data', async (line) => {
  if (line.toString().trim() === 'rotate') {
    await server.issuer.keys.generate('RS256');
    console.log('rotated');
  }
});
await once(process.stdin, 'end');
await server.stop();
