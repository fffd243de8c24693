import { describe, expect, it } from "vitest";
import { readProfile, signed } from "../../../components/vault/kms";

describe("requests to the key service", () => {
  it("are signed as AWS wants it", () => {
    const headers = signed(
      { host: "kms.eu-central-1.amazonaws.com", region: "eu-central-1", service: "kms", payload: "{}", target: "T.X" },
      { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY" },
      new Date("2026-01-02T03:04:05.678Z"),
    );
    expect(headers["x-amz-date"]).toBe("20260102T030405Z");
    expect(headers["authorization"]).toMatch(
      /^AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE\/20260102\/eu-central-1\/kms\/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=[0-9a-f]{64}$/,
    );
  });

  it("carry the token of a session, signed too", () => {
    const headers = signed(
      { host: "h", region: "r", service: "kms", payload: "{}", target: "T.X" },
      { accessKeyId: "A", secretAccessKey: "S", sessionToken: "session" },
      new Date(0),
    );
    expect(headers["x-amz-security-token"]).toBe("session");
    expect(headers["authorization"]).toContain("x-amz-security-token");
  });
});

describe("a file of credentials", () => {
  it("is read for the profile default", () => {
    const text = "[other]\naws_access_key_id = X\n\n[default]\naws_access_key_id = A\naws_secret_access_key=S/+=\n";
    expect(readProfile(text)).toEqual({ accessKeyId: "A", secretAccessKey: "S/+=" });
  });

  it("is refused without that profile, and not repeated", () => {
    expect(() => readProfile("[other]\naws_access_key_id = X\naws_secret_access_key = hidden\n")).toThrow(
      'the key "credentials" of seal.credentialsSecret must have the profile [default]',
    );
    expect(() => readProfile("hidden")).not.toThrow("hidden");
  });
});
