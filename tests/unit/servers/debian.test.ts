import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { inside } from "../../../sandbox/servers/build";
import { moved, upstream } from "../../../sandbox/servers/debian";

describe("the upstream version of a Debian package", () => {
  it.each([
    ["5:8.0.6-3", "8.0.6"],
    ["9.7.4-2", "9.7.4"],
    ["3.2.26-1", "3.2.26"],
    ["1:1.3.dfsg-2+deb11u2", "1.3.dfsg"],
    ["1.5.7+dfsg-4", "1.5.7"],
    ["9.8.0~rc1-1", "9.8.0~rc1"],
    ["2.4-rc1-1", "2.4-rc1"],
    ["262.1", "262.1"],
  ])("%s is %s", (version, expected) => {
    expect(upstream(version)).toBe(expected);
  });
});

describe("a release that moves on", () => {
  it("is no problem while only the packaging changes", () => {
    expect(moved("sid", "redis-server", "5:8.0.6-4", "8.0.6")).toBeUndefined();
  });

  it.each(["5:8.0.7-1", "5:8.0.6~rc1-1", "5:8.0-1", "(no version)"])("is one with %s", (offered) => {
    const problem = moved("sid", "redis-server", offered, "8.0.6");
    expect(problem).toContain(`Debian sid has redis-server ${offered}, the sandbox is pinned to 8.0.6`);
    expect(problem).toContain("sandbox/servers/catalogue.ts");
  });
});

describe("a path inside another file system", () => {
  let root: string;
  beforeAll(() => {
    root = mkdtempSync(join(tmpdir(), "inside-"));
    mkdirSync(join(root, "usr", "lib", "x"), { recursive: true });
    symlinkSync("usr/lib", join(root, "lib"));
    writeFileSync(join(root, "usr", "lib", "x", "libc-2.31.so"), "");
    symlinkSync("libc-2.31.so", join(root, "usr", "lib", "x", "libc.so.6"));
    symlinkSync("/lib/x/libc.so.6", join(root, "usr", "lib", "ld.so"));
    symlinkSync("../../../../../lib/x", join(root, "usr", "lib", "y"));
  });
  afterAll(() => rmSync(root, { recursive: true }));

  it.each(["/lib/x/libc.so.6", "/lib/ld.so", "/usr/lib/y/libc.so.6", "/lib/x/../x/libc-2.31.so"])(
    "%s stays in it",
    (path) => {
      expect(inside(root, path)).toBe(join(root, "usr/lib/x/libc-2.31.so"));
    },
  );
});
