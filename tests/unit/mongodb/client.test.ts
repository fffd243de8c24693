import { describe, expect, it } from "vitest";
import { clientOptions, type Endpoint } from "../../../components/mongodb/client";

describe("a connection of the agent", () => {
  const to = (tls: Endpoint["tls"]) =>
    clientOptions({ host: "a", port: 27017, tls, auth: undefined, timeoutMilliseconds: 1_500 });

  it("trusts the authority of the ensemble and nobody else", () => {
    expect(to({ ca: "PEM" })).toMatchObject({ tls: true, ca: "PEM" });
    expect(to({ ca: "PEM" })).not.toHaveProperty("tlsAllowInvalidCertificates");
  });

  it("reaches the own server whose certificate has expired, by TLS", () => {
    expect(to("unverified")).toMatchObject({ tls: true, tlsAllowInvalidCertificates: true });
  });

  it("is plain where TLS is off", () => {
    expect(to("off")).not.toHaveProperty("tls");
  });
});
