/** Making and reading certificates: ECDSA P-256, which every TLS library of the services speaks. */
// @peculiar/x509 uses decorators and does not load without this.
import "reflect-metadata";
import { createPrivateKey, X509Certificate as NodeCertificate, webcrypto } from "node:crypto";
import * as x509 from "@peculiar/x509";
import type { AuthorityCertificate, Leaf, Validity } from "../core/certificates";

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

/** A certificate with its private key, both PEM. */
export interface KeyPair {
  certificate: string;
  key: string;
}

/** A pair that signs, and what others must trust for it. */
export interface Authority extends KeyPair {
  /**
   * Of an intermediate authority: the certificates above it without the root, which servers show together with their own,
   * and the root, which clients trust. An authority of the ensemble's own is its own root.
   */
  issued?: { chain: string; root: string };
}

export function rootOf({ certificate, issued }: Pick<Authority, "certificate" | "issued">): string {
  return issued?.root ?? certificate;
}

/** What a server shows: its certificate and those between it and the root. */
export function withChain(leaf: KeyPair, { certificate, issued }: Authority): KeyPair {
  return issued === undefined ? leaf : { ...leaf, certificate: `${leaf.certificate}${certificate}${issued.chain}` };
}

export function splitPem(text: string): string[] {
  return (text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []).map((each) => `${each}\n`);
}

export async function createAuthority(commonName: string, validity: Validity): Promise<KeyPair> {
  const keys = await generateKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: [{ CN: [commonName] }],
    notBefore: new Date(validity.notBefore),
    notAfter: new Date(validity.notAfter),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      // It signs leaf certificates only.
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey, false),
    ],
  });
  return { certificate: pem(certificate), key: await privateKeyPem(keys) };
}

export interface LeafRequest extends Validity {
  commonName: string;
  dns: string[];
  ip: string[];
}

/** For both sides of a connection: members are server and client to each other. */
export async function issueLeaf(authority: KeyPair, request: LeafRequest): Promise<KeyPair> {
  const issuer = new x509.X509Certificate(authority.certificate);
  const signingKey = await importPrivateKey(authority.key);
  const keys = await generateKeys();
  const names = [
    ...request.dns.map((value) => ({ type: "dns" as const, value })),
    ...request.ip.map((value) => ({ type: "ip" as const, value })),
  ];
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: [{ CN: [request.commonName] }],
    issuer: issuer.subjectName,
    notBefore: new Date(request.notBefore),
    // A certificate that outlives its authority would fail before its own renewal is due.
    notAfter: new Date(Math.min(request.notAfter, issuer.notAfter.getTime())),
    signingAlgorithm: algorithm,
    publicKey: keys.publicKey,
    signingKey,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
      new x509.SubjectAlternativeNameExtension(names),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey, false),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey, false),
    ],
  });
  return { certificate: pem(certificate), key: await privateKeyPem(keys) };
}

/** Whether it may sign certificates. */
export function isAuthority(certificate: string): boolean {
  return new NodeCertificate(certificate).ca;
}

export function readAuthority(certificate: string): AuthorityCertificate {
  const parsed = new NodeCertificate(certificate);
  return { ...validity(parsed), fingerprint: parsed.fingerprint256 };
}

/** undefined when the certificate cannot be read or does not belong to the key. */
export function readLeaf(pair: KeyPair, authorities: string[]): Leaf | undefined {
  try {
    const parsed = new NodeCertificate(pair.certificate);
    if (!parsed.checkPrivateKey(createPrivateKey(pair.key))) return undefined;
    const signer = authorities
      .map((authority) => new NodeCertificate(authority))
      .find((authority) => parsed.checkIssued(authority) && parsed.verify(authority.publicKey));
    return { ...validity(parsed), subjects: subjects(pair.certificate), signedBy: signer?.fingerprint256 ?? "unknown" };
  } catch {
    return undefined;
  }
}

function subjects(certificate: string): string[] {
  const extension = new x509.X509Certificate(certificate).getExtension(x509.SubjectAlternativeNameExtension);
  return (extension?.names.items ?? []).map(({ value }) => canonicalAddress(value)).sort();
}

/** IPv6 addresses have several spellings; the short one is what `subjectNames` gives. */
function canonicalAddress(value: string): string {
  return value.includes(":") ? new URL(`http://[${value}]`).hostname.slice(1, -1) : value;
}

function validity(certificate: NodeCertificate): Validity {
  return { notBefore: certificate.validFromDate.getTime(), notAfter: certificate.validToDate.getTime() };
}

async function generateKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
}

function serialNumber(): string {
  const bytes = Buffer.from(webcrypto.getRandomValues(new Uint8Array(16)));
  // Positive and without a leading zero byte, as the encoding wants it.
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toString("hex");
}

function pem(certificate: x509.X509Certificate): string {
  return `${certificate.toString("pem").trim()}\n`;
}

async function privateKeyPem(keys: webcrypto.CryptoKeyPair): Promise<string> {
  const key = await webcrypto.subtle.exportKey("pkcs8", keys.privateKey);
  return `${x509.PemConverter.encode(key, "PRIVATE KEY").trim()}\n`;
}

async function importPrivateKey(key: string): Promise<webcrypto.CryptoKey> {
  const [der] = x509.PemConverter.decode(key);
  if (der === undefined) throw new Error("the key of the certificate authority is not PEM");
  return webcrypto.subtle.importKey("pkcs8", der, algorithm, false, ["sign"]);
}
