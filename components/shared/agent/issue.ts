/**
 * Making and reading certificates: ECDSA P-256, which every TLS library of the services speaks. Node.js signs and reads
 * certificates but makes none. What has to be written down is one page of RFC 5280, so each agent is spared a library
 * for all of it, which would be most of its bundle.
 */
import {
  createHash,
  createPrivateKey,
  generateKeyPair,
  type KeyObject,
  X509Certificate as NodeCertificate,
  randomBytes,
  sign,
} from "node:crypto";
import { isIPv4, isIPv6 } from "node:net";
import { promisify } from "node:util";
import type { AuthorityCertificate, Leaf, Validity } from "../core/certificates";
import { bitString, contextTag, elementsOf, encode, objectIdentifier, sequence, tags, time } from "./der";

const identifiers = {
  ecdsaWithSha256: "1.2.840.10045.4.3.2",
  commonName: "2.5.4.3",
  subjectKeyIdentifier: "2.5.29.14",
  keyUsage: "2.5.29.15",
  subjectAltName: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  authorityKeyIdentifier: "2.5.29.35",
  extendedKeyUsage: "2.5.29.37",
  serverAuth: "1.3.6.1.5.5.7.3.1",
  clientAuth: "1.3.6.1.5.5.7.3.2",
} as const;

/** A certificate with its private key, both PEM. */
export interface KeyPair {
  certificate: string;
  key: string;
}

/** A pair that signs, and what others must trust for it. */
export interface Authority extends KeyPair {
  /**
   * Of an intermediate authority: the certificates above it without the root, which servers show together with their
   * own, and the root, which clients trust. An authority of the ensemble's own is its own root.
   */
  issued?: { chain: string; root: string } | undefined;
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
  const name = distinguishedName(commonName);
  const certificate = signed(keys.privateKey, {
    issuer: name,
    subject: name,
    validity,
    publicKey: keys.publicKey,
    extensions: [
      // It signs leaf certificates only.
      critical(identifiers.basicConstraints, sequence(yes, encode(tags.integer, Buffer.from([0])))),
      // keyCertSign and cRLSign: bits 5 and 6.
      critical(identifiers.keyUsage, bitString(Buffer.from([0b0000_0110]), 1)),
      extension(identifiers.subjectKeyIdentifier, encode(tags.octetString, keyIdentifier(keys.publicKey))),
    ],
  });
  return { certificate, key: privateKeyPem(keys) };
}

function readKey(key: string): KeyObject {
  try {
    return createPrivateKey(key);
  } catch (error) {
    throw new Error("the key of the certificate authority is not PEM", { cause: error });
  }
}

/** For both sides of a connection: members are server and client to each other. */
export async function issueLeaf(
  authority: KeyPair,
  request: Validity & { commonName: string; dns: string[]; ip: string[] },
): Promise<KeyPair> {
  const issuer = new NodeCertificate(authority.certificate);
  const signingKey = readKey(authority.key);
  if (signingKey.asymmetricKeyType !== "ec") {
    const got = signingKey.asymmetricKeyType ?? "none";
    throw new Error(`the key of the certificate authority must be an elliptic curve key, got ${got}; use ECDSA P-256`);
  }
  const keys = await generateKeys();
  const names = [
    ...request.dns.map((name) => encode(contextTag(2, "primitive"), Buffer.from(name, "ascii"))),
    ...request.ip.map((address) => encode(contextTag(7, "primitive"), addressBytes(address))),
  ];
  const certificate = signed(signingKey, {
    issuer: subjectOf(issuer),
    subject: distinguishedName(request.commonName),
    // A certificate that outlives its authority would fail before its own renewal is due.
    validity: { ...request, notAfter: Math.min(request.notAfter, issuer.validToDate.getTime()) },
    publicKey: keys.publicKey,
    extensions: [
      critical(identifiers.basicConstraints, sequence()),
      // digitalSignature: bit 0.
      critical(identifiers.keyUsage, bitString(Buffer.from([0b1000_0000]), 7)),
      extension(
        identifiers.extendedKeyUsage,
        sequence(objectIdentifier(identifiers.serverAuth), objectIdentifier(identifiers.clientAuth)),
      ),
      extension(identifiers.subjectAltName, sequence(...names)),
      extension(identifiers.subjectKeyIdentifier, encode(tags.octetString, keyIdentifier(keys.publicKey))),
      extension(
        identifiers.authorityKeyIdentifier,
        sequence(encode(contextTag(0, "primitive"), keyIdentifierOf(issuer))),
      ),
    ],
  });
  return { certificate, key: privateKeyPem(keys) };
}

/** Whether each certificate was signed by the next one, and the last one by itself. */
export function leadsToRoot(certificates: string[]): boolean {
  const path = certificates.map((each) => new NodeCertificate(each));
  return path.every((each, index) => {
    const signer = path[index + 1] ?? each;
    return each.checkIssued(signer) && each.verify(signer.publicKey);
  });
}

export function isAuthority(certificate: string): boolean {
  return new NodeCertificate(certificate).ca;
}

export function readAuthority(certificate: string): AuthorityCertificate {
  const parsed = new NodeCertificate(certificate);
  return { ...validityOf(parsed), fingerprint: parsed.fingerprint256 };
}

/** undefined when the certificate cannot be read or does not belong to the key. */
export function readLeaf(pair: KeyPair, authorities: string[]): Leaf | undefined {
  try {
    const parsed = new NodeCertificate(pair.certificate);
    if (!parsed.checkPrivateKey(createPrivateKey(pair.key))) return undefined;
    const signer = authorities
      .map((authority) => new NodeCertificate(authority))
      .find((authority) => parsed.checkIssued(authority) && parsed.verify(authority.publicKey));
    return { ...validityOf(parsed), subjects: subjects(parsed), signedBy: signer?.fingerprint256 ?? "unknown" };
  } catch {
    return undefined;
  }
}

/** Node.js gives them as `DNS:etcd, IP Address:127.0.0.1`. */
function subjects({ subjectAltName }: NodeCertificate): string[] {
  const names = subjectAltName?.split(", ") ?? [];
  return names.map((name) => canonicalAddress(name.slice(name.indexOf(":") + 1))).sort();
}

/** IPv6 addresses have several spellings; the short one is what `subjectNames` gives. */
function canonicalAddress(value: string): string {
  return isIPv6(value) ? new URL(`http://[${value}]`).hostname.slice(1, -1) : value;
}

function validityOf(certificate: NodeCertificate): Validity {
  return { notBefore: certificate.validFromDate.getTime(), notAfter: certificate.validToDate.getTime() };
}

// --- the structure of a certificate, RFC 5280 section 4.1

interface Contents {
  issuer: Buffer;
  subject: Buffer;
  validity: Validity;
  publicKey: KeyObject;
  extensions: Buffer[];
}

function signed(key: KeyObject, { issuer, subject, validity, publicKey, extensions }: Contents): string {
  const algorithm = sequence(objectIdentifier(identifiers.ecdsaWithSha256));
  const toBeSigned = sequence(
    // Version 3 is written as 2.
    encode(contextTag(0, "constructed"), encode(tags.integer, Buffer.from([2]))),
    encode(tags.integer, serialNumber()),
    algorithm,
    issuer,
    sequence(time(validity.notBefore), time(validity.notAfter)),
    subject,
    publicKey.export({ type: "spki", format: "der" }),
    encode(contextTag(3, "constructed"), sequence(...extensions)),
  );
  const certificate = sequence(toBeSigned, algorithm, bitString(sign("sha256", toBeSigned, key)));
  return new NodeCertificate(certificate).toString();
}

const yes = encode(tags.boolean, Buffer.from([0xff]));

function extension(identifier: string, value: Buffer): Buffer {
  return sequence(objectIdentifier(identifier), encode(tags.octetString, value));
}

/** Who does not know this extension must refuse the certificate. */
function critical(identifier: string, value: Buffer): Buffer {
  return sequence(objectIdentifier(identifier), yes, encode(tags.octetString, value));
}

function distinguishedName(commonName: string): Buffer {
  const attribute = sequence(
    objectIdentifier(identifiers.commonName),
    encode(tags.utf8String, Buffer.from(commonName, "utf8")),
  );
  return sequence(encode(tags.set, attribute));
}

function serialNumber(): Buffer {
  const bytes = randomBytes(16);
  // Positive and without a leading zero byte, as the encoding wants it.
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes;
}

/** RFC 5280 section 4.2.1.2, method 1: of the bits of the key. */
function keyIdentifier(key: KeyObject): Buffer {
  const [, bits] = elementsOf(elementsOf(key.export({ type: "spki", format: "der" }))[0]?.content);
  // The first byte says how many bits are unused.
  return createHash("sha1")
    .update(bits?.content.subarray(1) ?? "")
    .digest();
}

function fieldsOf(certificate: NodeCertificate): ReturnType<typeof elementsOf> {
  const [whole] = elementsOf(certificate.raw);
  const [toBeSigned] = elementsOf(whole?.content);
  return elementsOf(toBeSigned?.content).filter(({ tag }) => tag !== contextTag(0, "constructed"));
}

/** As it stands: the issuer of a leaf must be the same byte by byte, and another library may have encoded it differently. */
function subjectOf(certificate: NodeCertificate): Buffer {
  const subject = fieldsOf(certificate)[4];
  if (subject === undefined) throw new Error("the certificate of the authority has no subject");
  return subject.whole;
}

/** What the authority calls its key. Not every library derives it as this one does. */
function keyIdentifierOf(certificate: NodeCertificate): Buffer {
  const extensions = fieldsOf(certificate).find(({ tag }) => tag === contextTag(3, "constructed"));
  const identifier = objectIdentifier(identifiers.subjectKeyIdentifier);
  for (const { content } of elementsOf(elementsOf(extensions?.content)[0]?.content)) {
    const [name, ...values] = elementsOf(content);
    const value = values.at(-1);
    if (name?.whole.equals(identifier) !== true || value === undefined) continue;
    const [key] = elementsOf(value.content);
    if (key !== undefined) return key.content;
  }
  return keyIdentifier(certificate.publicKey);
}

function addressBytes(address: string): Buffer {
  if (isIPv4(address)) return Buffer.from(address.split(".").map(Number));
  if (!isIPv6(address)) throw new Error(`${JSON.stringify(address)} is no IP address`);
  const [head = "", tail] = canonicalAddress(address).split("::");
  const groups = (text: string): string[] => text.split(":").filter((each) => each !== "");
  const [before, after] = [groups(head), groups(tail ?? "")];
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => "0");
  return Buffer.from([...before, ...zeros, ...after].map((each) => each.padStart(4, "0")).join(""), "hex");
}

const generateKeys = (): Promise<{ publicKey: KeyObject; privateKey: KeyObject }> =>
  promisify(generateKeyPair)("ec", { namedCurve: "P-256" });

function privateKeyPem({ privateKey }: { privateKey: KeyObject }): string {
  return privateKey.export({ type: "pkcs8", format: "pem" }).toString();
}
