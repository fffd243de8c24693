import "reflect-metadata";
import { X509Certificate } from "node:crypto";
import * as x509 from "@peculiar/x509";
import { describe, expect, it } from "vitest";
import { createAuthority, issueLeaf, readAuthority, readLeaf } from "../../../components/shared/agent/issue";
import {
  type AuthorityCertificate,
  type CertificatesAction,
  type CertificatesObserved,
  decideCertificates,
  subjectNames,
} from "../../../components/shared/core/certificates";

const day = 24 * 60 * 60 * 1000;
const now = 1000 * day;
const fresh = { notBefore: now - day, notAfter: now + 89 * day };
const due = { notBefore: now - 61 * day, notAfter: now + 29 * day };
const old = { fingerprint: "old", notBefore: now - 10 * day, notAfter: now + 3640 * day };
const next = { fingerprint: "next", notBefore: now, notAfter: now + 3650 * day };
const subjects = ["a", "b"];

function leaves(leaf: object = {}): CertificatesObserved["leaves"] {
  const usual = { ...fresh, subjects, signedBy: "old", ...leaf };
  return { server: usual, peer: usual };
}

const steady = { phase: "steady", issued: false, since: 0, rotation: 0, current: old } as const;
const introduced = {
  phase: "introduced",
  issued: false,
  since: now - 1,
  rotation: 1,
  current: old,
  other: next,
} as const;
const switched = {
  phase: "switched",
  issued: false,
  since: now - 2 * day,
  rotation: 1,
  current: next,
  other: old,
} as const;
const settled = { settled: true, rolled: "now" };

describe("decisions about certificates", () => {
  it.each<[string, CertificatesObserved, CertificatesAction["kind"], number?]>([
    ["nothing exists", { authority: undefined, leaves: {}, servers: undefined }, "create-authority"],
    [
      "the authority of running members is gone",
      { authority: undefined, leaves: leaves(), servers: settled },
      "refuse",
    ],
    [
      "an authority without leaves",
      { authority: steady, leaves: { server: undefined, peer: undefined }, servers: undefined },
      "issue-leaves",
    ],
    [
      "members without TLS that are about to get it",
      { authority: undefined, leaves: {}, servers: { ...settled, plain: true } },
      "create-authority",
    ],
    ["all well", { authority: steady, leaves: leaves(), servers: settled }, "nothing"],
    ["all well before the servers exist", { authority: steady, leaves: leaves(), servers: undefined }, "nothing"],
    ["a leaf in its last third", { authority: steady, leaves: leaves(due), servers: settled }, "issue-leaves"],
    ["other members", { authority: steady, leaves: leaves({ subjects: ["a"] }), servers: settled }, "issue-leaves"],
    [
      "a leaf of an unknown authority",
      { authority: steady, leaves: leaves({ signedBy: "unknown" }), servers: settled },
      "issue-leaves",
    ],
    [
      "an authority in its last third",
      {
        authority: { ...steady, current: { ...old, notBefore: now - 300 * day, notAfter: now + 100 * day } },
        leaves: leaves(),
        servers: settled,
      },
      "introduce-authority",
    ],
    ["a raised rotation", { authority: steady, leaves: leaves(), servers: settled }, "introduce-authority", 1],
    [
      "a raised rotation while members restart",
      { authority: steady, leaves: leaves(), servers: { settled: false, rolled: "now" } },
      "wait",
      1,
    ],
    [
      "introduced and rolled, a day ago",
      { authority: { ...introduced, since: now - 2 * day }, leaves: leaves(), servers: settled },
      "switch-authority",
      1,
    ],
    [
      "introduced and rolled, just now",
      { authority: { ...introduced, since: now - 1 }, leaves: leaves(), servers: settled },
      "wait",
      1,
    ],
    [
      "introduced, not rolled",
      { authority: introduced, leaves: leaves(), servers: { settled: true, rolled: "before" } },
      "wait",
      1,
    ],
    [
      "introduced, rolling",
      { authority: introduced, leaves: leaves(), servers: { settled: false, rolled: "now" } },
      "wait",
      1,
    ],
    ["switched, old leaves", { authority: switched, leaves: leaves(), servers: settled }, "issue-leaves", 1],
    [
      "switched, rolled, a day ago",
      { authority: switched, leaves: leaves({ signedBy: "next" }), servers: settled },
      "retire-authority",
      1,
    ],
    [
      "switched, rolled, just now",
      { authority: { ...switched, since: now - 1 }, leaves: leaves({ signedBy: "next" }), servers: settled },
      "wait",
      1,
    ],
    [
      "switched, not rolled",
      {
        authority: switched,
        leaves: leaves({ signedBy: "next" }),
        servers: { settled: true, rolled: "before" },
      },
      "wait",
      1,
    ],
    [
      "an authority that has ended",
      { authority: { ...steady, current: { ...old, notAfter: now } }, leaves: leaves(due), servers: settled },
      "refuse",
    ],
    [
      "an authority that has ended while another one is introduced",
      { authority: { ...introduced, current: { ...old, notAfter: now } }, leaves: leaves(due), servers: settled },
      "switch-authority",
    ],
    ["a lowered rotation", { authority: { ...steady, rotation: 3 }, leaves: leaves(), servers: settled }, "nothing", 2],
  ])("%s", (_, observed, kind, rotation = 0) => {
    expect(decideCertificates(observed, { subjects, rotation, issued: undefined }, "now", now).kind).toBe(kind);
  });

  const given = { ...steady, issued: true };
  it.each<[string, CertificatesObserved, AuthorityCertificate | undefined, boolean, CertificatesAction["kind"]]>([
    [
      "an issuer and nothing else",
      { authority: undefined, leaves: {}, servers: undefined },
      old,
      false,
      "create-authority",
    ],
    [
      "members of the last release, which trust the root of the issuer",
      { authority: undefined, leaves: leaves(), servers: settled },
      old,
      true,
      "create-authority",
    ],
    [
      "members that do not trust the root of the issuer",
      { authority: undefined, leaves: leaves(), servers: settled },
      old,
      false,
      "refuse",
    ],
    [
      "the same authority of the issuer",
      { authority: given, leaves: leaves(), servers: settled },
      old,
      true,
      "nothing",
    ],
    ["a renewed one", { authority: given, leaves: leaves(), servers: settled }, next, true, "introduce-authority"],
    [
      "an issuer after an own authority",
      { authority: steady, leaves: leaves(), servers: settled },
      next,
      false,
      "introduce-authority",
    ],
    [
      "an own authority after an issuer",
      { authority: given, leaves: leaves(), servers: settled },
      undefined,
      false,
      "introduce-authority",
    ],
  ])("%s", (_, observed, issued, trusted, kind) => {
    const wanted = { subjects, rotation: 0, issued: issued && { ...issued, trusted } };
    expect(decideCertificates(observed, wanted, "now", now).kind).toBe(kind);
  });
});

describe("subjects", () => {
  it("names every member in both forms, the service, and this host", () => {
    expect(subjectNames("etcd", "cells", 1).dns).toEqual([
      "etcd",
      "etcd-0.etcd-peers.cells.svc",
      "etcd-0.etcd-peers.cells.svc.cluster.local",
      "etcd.cells",
      "etcd.cells.svc",
      "etcd.cells.svc.cluster.local",
      "localhost",
    ]);
    expect(subjectNames("etcd", "cells", 0).ip).toEqual(["127.0.0.1", "::1"]);
  });
});

describe("certificates", () => {
  const validity = { notBefore: Date.now() - 300_000, notAfter: Date.now() + 10 * day };
  const { dns, ip } = subjectNames("etcd", "cells", 3);

  it("are signed by the authority, carry the names and fit their key", async () => {
    const authority = await createAuthority("etcd.cells", validity);
    const pair = await issueLeaf(authority, { commonName: "etcd", dns, ip, ...validity });
    const leaf = readLeaf(pair, [authority.certificate]);
    expect(leaf?.signedBy).toBe(readAuthority(authority.certificate).fingerprint);
    expect(leaf?.subjects).toEqual([...dns, ...ip].sort());
    const parsed = new X509Certificate(pair.certificate);
    expect(parsed.ca).toBe(false);
    expect(parsed.checkHost("etcd-1.etcd-peers.cells.svc")).toBeDefined();
    expect(new X509Certificate(authority.certificate).ca).toBe(true);
  });

  it("are read by another library as they were meant", async () => {
    const late = { ...validity, notAfter: Date.UTC(2060, 0, 1) };
    const authority = await createAuthority("Zürich", late);
    const addresses = ["127.0.0.1", "::1", "2001:db8::ff00:42:8329"];
    const pair = await issueLeaf(authority, { commonName: "etcd", dns: ["etcd-0.peers"], ip: addresses, ...late });
    const [root, leaf] = [new x509.X509Certificate(authority.certificate), new x509.X509Certificate(pair.certificate)];
    expect([root.subject, leaf.issuer, leaf.subject]).toEqual(["CN=Zürich", "CN=Zürich", "CN=etcd"]);
    expect(await leaf.verify({ publicKey: root.publicKey })).toBe(true);
    expect(leaf.notAfter.toISOString()).toBe("2060-01-01T00:00:00.000Z");
    expect(root.getExtension(x509.BasicConstraintsExtension)).toMatchObject({
      ca: true,
      pathLength: 0,
      critical: true,
    });
    expect(root.getExtension(x509.KeyUsagesExtension)?.usages).toBe(
      x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign,
    );
    expect(leaf.getExtension(x509.BasicConstraintsExtension)).toMatchObject({ ca: false, critical: true });
    expect(leaf.getExtension(x509.KeyUsagesExtension)?.usages).toBe(x509.KeyUsageFlags.digitalSignature);
    expect(leaf.getExtension(x509.ExtendedKeyUsageExtension)?.usages).toEqual([
      x509.ExtendedKeyUsage.serverAuth,
      x509.ExtendedKeyUsage.clientAuth,
    ]);
    const names = leaf.getExtension(x509.SubjectAlternativeNameExtension)?.names.items.map(({ value }) => value);
    expect(names).toEqual(["etcd-0.peers", ...addresses]);
    expect(leaf.getExtension(x509.AuthorityKeyIdentifierExtension)?.keyId).toBe(
      root.getExtension(x509.SubjectKeyIdentifierExtension)?.keyId,
    );
  });

  it("are issued by an authority that another library has made", async () => {
    const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
    const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
    const made = await x509.X509CertificateGenerator.createSelfSigned({
      name: [{ O: ["Acme"] }, { CN: ["intermediate"] }],
      notBefore: new Date(validity.notBefore),
      notAfter: new Date(validity.notAfter),
      signingAlgorithm: algorithm,
      keys,
      extensions: [
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.SubjectKeyIdentifierExtension("00112233"),
      ],
    });
    const key = x509.PemConverter.encode(await crypto.subtle.exportKey("pkcs8", keys.privateKey), "PRIVATE KEY");
    const authority = { certificate: made.toString("pem"), key };
    const pair = await issueLeaf(authority, { commonName: "etcd", dns, ip, ...validity });
    expect(readLeaf(pair, [authority.certificate])?.signedBy).toBe(readAuthority(authority.certificate).fingerprint);
    const leaf = new x509.X509Certificate(pair.certificate);
    expect(leaf.getExtension(x509.AuthorityKeyIdentifierExtension)?.keyId).toBe("00112233");
  });

  it("do not outlive their authority", async () => {
    const authority = await createAuthority("etcd.cells", validity);
    const pair = await issueLeaf(authority, {
      commonName: "etcd",
      dns,
      ip,
      ...validity,
      notAfter: validity.notAfter + day,
    });
    expect(readLeaf(pair, [])?.notAfter).toBe(readAuthority(authority.certificate).notAfter);
  });

  it("with a foreign key or an unreadable text count as missing", async () => {
    const authority = await createAuthority("etcd.cells", validity);
    const pair = await issueLeaf(authority, { commonName: "etcd", dns, ip, ...validity });
    expect(readLeaf({ certificate: pair.certificate, key: authority.key }, [])).toBeUndefined();
    expect(readLeaf({ certificate: "nonsense", key: pair.key }, [])).toBeUndefined();
  });

  it("of two authorities with the same name are told apart", async () => {
    const [first, second] = [await createAuthority("same", validity), await createAuthority("same", validity)];
    const pair = await issueLeaf(second, { commonName: "etcd", dns, ip, ...validity });
    expect(readLeaf(pair, [first.certificate])?.signedBy).toBe("unknown");
    expect(readLeaf(pair, [first.certificate, second.certificate])?.signedBy).toBe(
      readAuthority(second.certificate).fingerprint,
    );
  });
});
