// A real OpenID Connect provider for scripts/test-oidc: whoever logs in as NAME is NAME@example.org.
// Its keys are made when it starts: another start, other keys.
import { generateKeyPairSync } from "node:crypto";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [folder, port, site] = process.argv.slice(2);
const place = createRequire(`${folder}/`).resolve("oidc-provider");
const { default: Provider } = await import(pathToFileURL(place));
const key = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ format: "jwk" });
const claims = (sub) => ({
  sub,
  email: `${sub}@example.org`,
  email_verified: sub !== "mallory",
  name: sub,
});
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    {
      client_id: "rookery",
      client_secret: process.env.OIDC_LOCAL_CLIENT_SECRET,
      redirect_uris: [`${site}/api/auth/oidc/local/callback`],
    },
  ],
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
  cookies: { keys: ["for tests only"] },
  features: { devInteractions: { enabled: true } },
  findAccount: (_, sub) => ({ accountId: sub, claims: () => claims(sub) }),
  jwks: { keys: [{ ...key, use: "sig", alg: "RS256" }] },
  pkce: { required: () => true },
});
provider.listen(Number(port), "127.0.0.1");
