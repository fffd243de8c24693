/** What cert-manager writes into the Secret of an intermediate authority, made with the same library as the agent's. */
import "reflect-metadata";
import { webcrypto } from "node:crypto";
import * as x509 from "@peculiar/x509";

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const day = 24 * 60 * 60 * 1000;

const keyPair = () => webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
const pem = (certificate: x509.X509Certificate) => `${certificate.toString("pem").trim()}\n`;

export interface Issuer {
  root: string;
  /** A fresh intermediate authority each time. */
  issue: (days?: number) => Promise<{ "tls.crt": string; "tls.key": string; "ca.crt": string }>;
}

export async function createIssuer(now: number): Promise<Issuer> {
  const validity = { notBefore: new Date(now - day), notAfter: new Date(now + 3650 * day) };
  const keys = await keyPair();
  const root = await x509.X509CertificateGenerator.createSelfSigned({
    ...validity,
    name: [{ CN: ["root"] }],
    signingAlgorithm: algorithm,
    keys,
    extensions: [new x509.BasicConstraintsExtension(true, 1, true)],
  });
  return {
    root: pem(root),
    async issue(days = 3650) {
      const own = await keyPair();
      const certificate = await x509.X509CertificateGenerator.create({
        notBefore: validity.notBefore,
        // An hour more, so that whole days are left.
        notAfter: new Date(now + days * day + day / 24),
        subject: [{ CN: ["etcd"] }],
        issuer: root.subjectName,
        signingAlgorithm: algorithm,
        publicKey: own.publicKey,
        signingKey: keys.privateKey,
        extensions: [
          new x509.BasicConstraintsExtension(true, 0, true),
          new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.digitalSignature, true),
        ],
      });
      const key = await webcrypto.subtle.exportKey("pkcs8", own.privateKey);
      return {
        "tls.crt": pem(certificate),
        "tls.key": `${x509.PemConverter.encode(key, "PRIVATE KEY")}\n`,
        "ca.crt": pem(root),
      };
    },
  };
}
