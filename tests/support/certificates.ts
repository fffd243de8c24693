/** Certificates of a deployed service, as time would leave them. */
import { X509Certificate } from "node:crypto";
import { issueLeaf } from "../../components/shared/agent/issue";
import { decoded, type Secret } from "../../components/shared/agent/kubernetes";
import { leafSecretNames } from "../../components/shared/core/certificates";
import { namesOf, type ServiceKind } from "../../components/shared/core/names";
import { kubectl } from "../../sandbox/cluster";

const day = 24 * 60 * 60 * 1000;

async function readSecret(namespace: string, name: string): Promise<Record<string, string>> {
  const secret = JSON.parse(await kubectl("get", "secret", name, "-n", namespace, "-o", "json")) as Secret;
  return decoded(secret.data);
}

/** In place of its leaf certificates others with the same names, of the same authority, that ended yesterday. */
export async function endCertificates(namespace: string, service: ServiceKind): Promise<void> {
  const { "ca.crt": certificate = "", "ca.key": key = "" } = await readSecret(namespace, namesOf(service).authority);
  for (const secret of leafSecretNames(service, service)) {
    const { "tls.crt": shown = "" } = await readSecret(namespace, secret);
    const names = (new X509Certificate(shown).subjectAltName ?? "").split(", ");
    const of = (prefix: string) => names.flatMap((each) => (each.startsWith(prefix) ? each.slice(prefix.length) : []));
    const ended = await issueLeaf(
      { certificate, key },
      {
        commonName: service,
        dns: of("DNS:"),
        ip: of("IP Address:"),
        notBefore: Date.now() - 90 * day,
        notAfter: Date.now() - day,
      },
    );
    const patch = { stringData: { "tls.crt": ended.certificate, "tls.key": ended.key } };
    await kubectl("patch", "secret", secret, "-n", namespace, "--type=merge", "-p", JSON.stringify(patch));
  }
}
