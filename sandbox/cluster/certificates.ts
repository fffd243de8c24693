import "reflect-metadata";
import { createHash, generateKeyPairSync, webcrypto } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { isIP } from "node:net";
import { dirname, join } from "node:path";
import * as x509 from "@peculiar/x509";
import { writeIfChanged } from "../files";
import { hostAddress, kubernetesServiceAddress, nodes } from "./layout";

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const tenYears = 10 * 365 * 24 * 3600 * 1000;

interface Identity {
  file: string;
  commonName: string;
  organization?: string;
  names?: string[];
}

/** Who talks to whom in the control plane; common name and organization are the Kubernetes user and group. */
const identities: Identity[] = [
  {
    file: "apiserver",
    commonName: "kube-apiserver",
    names: [
      "kubernetes",
      "kubernetes.default",
      "kubernetes.default.svc",
      hostAddress,
      kubernetesServiceAddress,
      "127.0.0.1",
    ],
  },
  { file: "etcd", commonName: "etcd", names: ["127.0.0.1"] },
  { file: "apiserver-client", commonName: "kube-apiserver", organization: "system:masters" },
  { file: "admin", commonName: "admin", organization: "system:masters" },
  { file: "controller-manager", commonName: "system:kube-controller-manager" },
  { file: "scheduler", commonName: "system:kube-scheduler" },
  { file: "kube-proxy", commonName: "system:kube-proxy" },
  ...nodes.map((node) => ({
    file: node.name,
    commonName: `system:node:${node.name}`,
    organization: "system:nodes",
    names: [node.name, node.address],
  })),
];

export interface Certificates {
  folder: string;
  authority: string;
  certificate: (file: string) => string;
  key: (file: string) => string;
}

/** The certificates of the control plane, made once and kept with the cluster's data. */
export async function makeCertificates(folder: string): Promise<Certificates> {
  const paths: Certificates = {
    folder,
    authority: join(folder, "ca.crt"),
    certificate: (file) => join(folder, `${file}.crt`),
    key: (file) => join(folder, `${file}.key`),
  };
  // Written last, so that its presence means that all the others are there.
  const complete = join(folder, "complete");
  const wanted = createHash("sha256").update(JSON.stringify(identities)).digest("hex");
  if (existsSync(complete) && readFileSync(complete, "utf8") === wanted) return paths;
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  x509.cryptoProvider.set(webcrypto);
  const authorityKeys = await newKeys();
  const validity = { notBefore: new Date(Date.now() - 3600_000), notAfter: new Date(Date.now() + tenYears) };
  const authority = await x509.X509CertificateGenerator.createSelfSigned({
    name: "CN=cells-services sandbox",
    keys: authorityKeys,
    ...validity,
    signingAlgorithm: algorithm,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
    ],
  });
  writeFileSync(paths.authority, authority.toString("pem"));
  for (const identity of identities) {
    const keys = await newKeys();
    const certificate = await x509.X509CertificateGenerator.create({
      subject: [{ CN: [identity.commonName] }, ...(identity.organization ? [{ O: [identity.organization] }] : [])],
      issuer: authority.subject,
      publicKey: keys.publicKey,
      signingKey: authorityKeys.privateKey,
      ...validity,
      signingAlgorithm: algorithm,
      extensions: [
        new x509.BasicConstraintsExtension(false),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
        ...(identity.names
          ? [
              new x509.SubjectAlternativeNameExtension(
                identity.names.map((value) => ({ type: isIP(value) ? "ip" : "dns", value })),
              ),
            ]
          : []),
      ],
    });
    writeFileSync(paths.certificate(identity.file), certificate.toString("pem"));
    await writeKey(paths.key(identity.file), keys.privateKey);
  }
  const serviceAccounts = generateKeyPairSync("rsa", { modulusLength: 2048 });
  writeFileSync(paths.key("service-accounts"), serviceAccounts.privateKey.export({ type: "pkcs8", format: "pem" }), {
    mode: 0o600,
  });
  writeFileSync(
    join(dirname(paths.authority), "service-accounts.pub"),
    serviceAccounts.publicKey.export({ type: "spki", format: "pem" }),
  );
  writeFileSync(complete, wanted);
  return paths;
}

const newKeys = (): Promise<webcrypto.CryptoKeyPair> =>
  webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);

async function writeKey(file: string, key: webcrypto.CryptoKey): Promise<void> {
  const pem = x509.PemConverter.encode(await webcrypto.subtle.exportKey("pkcs8", key), "PRIVATE KEY");
  writeFileSync(file, pem, { mode: 0o600 });
}

/** A kubeconfig for one identity. It names its certificates by content, so that it works from anywhere. */
export function writeKubeconfig(file: string, certificates: Certificates, identity: string, server: string): void {
  const inline = (path: string): string => readFileSync(path).toString("base64");
  const name = "cells-services";
  const text = JSON.stringify(
    {
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name, cluster: { server, "certificate-authority-data": inline(certificates.authority) } }],
      users: [
        {
          name: identity,
          user: {
            "client-certificate-data": inline(certificates.certificate(identity)),
            "client-key-data": inline(certificates.key(identity)),
          },
        },
      ],
      contexts: [{ name, context: { cluster: name, user: identity } }],
      "current-context": name,
    },
    undefined,
    2,
  );
  writeIfChanged(file, `${text}\n`);
}
