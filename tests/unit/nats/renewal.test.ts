import { beforeAll, describe, expect, it } from "vitest";
import { isBehind } from "../../../components/nats/renewal";
import { createAuthority, issueLeaf } from "../../../components/shared/agent/issue";

describe("a server", () => {
  const day = 24 * 60 * 60 * 1000;
  const now = Date.parse("2026-01-01T00:00:00Z");
  const leaf = async (days: number) => {
    const authority = await createAuthority("test", { notBefore: now, notAfter: now + 100 * day });
    const subject = { commonName: "nats", dns: ["nats"], ip: [], notBefore: now, notAfter: now + days * day };
    return (await issueLeaf(authority, subject)).certificate;
  };
  const shown = (client?: string, peer?: string) => ({
    server_id: "N",
    ...(client === undefined ? {} : { tls_cert_not_after: client }),
    cluster: peer === undefined ? {} : { tls_cert_not_after: peer },
  });
  const [second, third] = ["2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"];
  let files: [string, string];

  beforeAll(async () => {
    files = [await leaf(1), await leaf(2)];
  });

  it("that shows what it should is left alone", () => {
    expect(isBehind(shown(second, third), files)).toBe(false);
  });

  it.each([
    ["to clients", shown(third, third)],
    ["to peers", shown(second, second)],
    ["in words it does not have", shown()],
  ])("that shows another certificate %s is told to read them", (_, answer) => {
    expect(isBehind(answer, files)).toBe(true);
  });
});
