// A certified OpenID provider on loopback, for the tests: it signs in whoever it is told to, without
// asking, and can be told to misbehave in ways that no real one does.
//
// GET /_rig?<what>=<value>… sets it up; everything else is the provider's own. It prints its address.
import {
  createHmac, createPrivateKey, createPublicKey, createSign, generateKeyPairSync, randomUUID,
} from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createSecureServer } from 'node:https';

const { default: Provider } = await import(process.env.OIDC_PROVIDER);

const rig = {
  account: 'a-1',
  deny: false,
  down: false,
  disabled: new Set(),
  groups: new Map([['a-1', ['engineering']]]),
  silent: false,
  name: undefined,
  pkce: true,
  userinfoOnly: process.env.USERINFO_ONLY === '1',
  backchannel: undefined,
  tamper: undefined,
  sids: new Map(),
};

let keys;
let provider;
let handle;

// Node 20 stands still for ever where it collects what made a key while that key itself is exported: so the
// one that is exported was read from text.
function freshKeys() {
  const pem = (type) => ({ type, format: 'pem' });
  const { privateKey: text } = generateKeyPairSync('rsa', {
    modulusLength: 2048, privateKeyEncoding: pem('pkcs8'), publicKeyEncoding: pem('spki'),
  });
  const secret = createPrivateKey(text);
  const id = randomUUID();
  const jwk = { ...secret.export({ format: 'jwk' }), kid: id, use: 'sig', alg: 'RS256' };
  keys = { id, jwk, private: secret, public: createPublicKey(secret) };
}

function client() {
  return {
    client_id: 'postern',
    client_secret: 'canary-client-secret-of-the-gateway',
    redirect_uris: ['http://localhost/oidc/corp/callback'],
    post_logout_redirect_uris: ['http://localhost/login'],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    ...(rig.backchannel && {
      backchannel_logout_uri: rig.backchannel,
      backchannel_logout_session_required: true,
    }),
  };
}

// A client on a person's machine, which gets access tokens for services.
const native = {
  client_id: 'psql',
  application_type: 'native',
  token_endpoint_auth_method: 'none',
  redirect_uris: ['http://localhost/done'],
  grant_types: ['authorization_code'],
  response_types: ['code'],
};

async function findAccount(_ctx, id) {
  if (rig.disabled.has(id)) return undefined;
  const claims = () => ({
    sub: id,
    name: rig.name ?? `Person ${id}`,
    email: 'same@example.com',
    ...(!rig.silent && { groups: rig.groups.get(id) ?? [] }),
  });
  return { accountId: id, claims };
}

function build(issuer) {
  provider = new Provider(issuer, {
    clients: [client(), native],
    jwks: { keys: [keys.jwk] },
    claims: { openid: ['sub'], profile: ['name', 'groups'] },
    conformIdTokenClaims: rig.userinfoOnly,
    cookies: { keys: ['a test'] },
    features: {
      devInteractions: { enabled: false },
      backchannelLogout: { enabled: true },
      rpInitiatedLogout: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_ctx, resource) => ({
          scope: 'postern',
          audience: resource,
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
    // Its own refuses to speak to loopback, where the gateway of a test is.
    fetch: (url, { dispatcher: _, ...options }) => fetch(url, options),
    findAccount,
    interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
    issueRefreshToken: async (_ctx, _client, code) => code.scopes.has('offline_access'),
    pkce: { required: () => rig.pkce },
    rotateRefreshToken: true,
    ttl: { AccessToken: 600, Grant: 3600, IdToken: 600, Interaction: 600, Session: 3600 },
  });
  // The gateway's port is known only once it runs.
  provider.Client.prototype.redirectUriAllowed = (uri) => new URL(uri).hostname === 'localhost';
  provider.Client.prototype.postLogoutRedirectUriAllowed = (uri) =>
    new URL(uri).hostname === 'localhost';
  provider.on('server_error', (_ctx, error) => console.error(error));
  provider.on('backchannel.error', (_ctx, error) => console.error(error));
  handle = provider.callback();
}

async function interact(request, response) {
  const { prompt, params, session } = await provider.interactionDetails(request, response);
  if (rig.deny || rig.disabled.has(rig.account)) {
    const result = { error: 'access_denied', error_description: 'the person said no' };
    return provider.interactionFinished(request, response, result);
  }
  if (prompt.name === 'login') {
    const result = { login: { accountId: rig.account } };
    return provider.interactionFinished(request, response, result);
  }
  const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope(params.scope);
  if (params.resource) grant.addResourceScope(params.resource, 'postern');
  const result = { consent: { grantId: await grant.save() } };
  return provider.interactionFinished(request, response, result, { mergeWithLastSubmission: true });
}

const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

// What an issuer would have to do wrong: other claims, another algorithm, another key.
function tampered(token) {
  const [head, body] = token.split('.').slice(0, 2).map((part) => JSON.parse(Buffer.from(part, 'base64url')));
  const claims = { ...body, ...rig.tamper.claims };
  const header = { ...head, ...rig.tamper.header };
  const message = `${encode(header)}.${encode(claims)}`;
  if (header.alg === 'none') return `${message}.`;
  if (header.alg === 'HS256') {
    const secret = keys.public.export({ format: 'pem', type: 'spki' });
    return `${message}.${createHmac('sha256', secret).update(message).digest('base64url')}`;
  }
  const key = rig.tamper.stranger
    ? generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
    : keys.private;
  return `${message}.${createSign('sha256').update(message).sign(key, 'base64url')}`;
}

// The provider's name of the session, which a logout speaks of.
function remember(token) {
  const claims = JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));
  rig.sids.set(claims.sub, claims.sid);
}

// Looks at, or replaces, the id token in the token endpoint's answer.
function falsify(response) {
  const end = response.end.bind(response);
  response.end = (body) => {
    const answer = JSON.parse(body.toString());
    if (answer.id_token) remember(answer.id_token);
    if (answer.id_token && rig.tamper) answer.id_token = tampered(answer.id_token);
    const text = JSON.stringify(answer);
    response.setHeader('content-length', Buffer.byteLength(text));
    return end(text);
  };
}

async function command(url, response) {
  const issuer = provider.issuer;
  for (const [name, value] of url.searchParams) {
    if (name === 'account') rig.account = value;
    else if (name === 'deny') rig.deny = value === 'true';
    else if (name === 'down') rig.down = value === 'true';
    else if (name === 'disable') rig.disabled.add(value);
    else if (name === 'groups') rig.groups.set(rig.account, value.split(',').filter(Boolean));
    else if (name === 'tamper') rig.tamper = value ? JSON.parse(value) : undefined;
    else if (name === 'silent') rig.silent = value === 'true';
    else if (name === 'name') rig.name = value || undefined;
    else if (name === 'pkce') rig.pkce = value === 'true';
    else if (name === 'backchannel') { rig.backchannel = value; build(issuer); }
    else if (name === 'rotate') { freshKeys(); build(issuer); }
    else if (name === 'end') {
      const told = await provider.Client.find('postern');
      told.backchannelLogoutSessionRequired = value === 'session';
      await told.backchannelLogout(rig.account, rig.sids.get(rig.account));
    }
    else { response.statusCode = 400; }
  }
  response.end();
}

const secure = process.env.TLS_CERT && {
  cert: readFileSync(process.env.TLS_CERT),
  key: readFileSync(process.env.TLS_KEY),
};
const serve = secure ? createSecureServer.bind(null, secure) : createServer;

const server = serve(async (request, response) => {
  try {
    const url = new URL(request.url, 'http://localhost');
    if (url.pathname === '/_rig') return await command(url, response);
    if (rig.down) return request.socket.destroy();
    if (url.pathname.startsWith('/interaction/')) return await interact(request, response);
    if (url.pathname === '/token') falsify(response);
    return handle(request, response);
  } catch (error) {
    console.error(error);
    response.statusCode = 500;
    return response.end();
  }
});

server.listen(0, '127.0.0.1', () => {
  freshKeys();
  const issuer = `${secure ? 'https' : 'http'}://localhost:${server.address().port}`;
  build(issuer);
  console.log(issuer);
});
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
