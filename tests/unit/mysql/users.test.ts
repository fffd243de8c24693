import { describe, expect, it } from "vitest";
import {
  applicationStatements,
  keepPasswords,
  lockStatement,
  passwordStatement,
  shareOf,
} from "../../../components/mysql/users";

describe("the users of applications", () => {
  it("own one database, and no other that looks like it", () => {
    const statements = applicationStatements({ username: "my-app", password: "P1" }, 500);
    expect(statements[0]).toBe("CREATE DATABASE IF NOT EXISTS `my_app` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin");
    expect(statements.at(-1)).toBe("GRANT ALL ON `my\\_app`.* TO 'my-app'@'%'");
    expect(statements.join()).toContain("MAX_USER_CONNECTIONS 500");
  });

  it.each([
    [500, 1, 500],
    [500, 3, 166],
    [10, 11, 1],
  ])("share %i connections: of %i each has %i", (all, applications, share) => {
    expect(shareOf(all, applications)).toBe(share);
  });

  it("keep the former password beside a new one", () => {
    expect(passwordStatement({ username: "cells", password: "P2" })).toBe(
      "ALTER USER 'cells'@'%' IDENTIFIED BY 'P2' RETAIN CURRENT PASSWORD",
    );
  });

  it.each([
    ["that the server has", ["new", "former"], ["new", "former"], 0],
    ["after a rotation", ["former", "older"], ["new", "former"], 1],
    ["of volumes that were kept", ["other", "another"], ["new", "former"], 3],
    ["in another order", ["former", "new"], ["former", "new"], 0],
  ])("accept both passwords %s", async (_, before, after, given) => {
    let places = before;
    let changes = 0;
    await keepPasswords(
      ["new", "former"].map((password) => ({ username: "cells", password })),
      {
        accepts: async ({ password }) => places.includes(password),
        give: async ({ password }) => {
          places = [password, places[0] ?? ""];
          changes += 1;
        },
      },
    );
    expect(places).toEqual(after);
    expect(changes).toBe(given);
  });

  it("are locked, not removed, when they are no more", () => {
    expect(lockStatement("cells")).toBe("ALTER USER 'cells'@'%' ACCOUNT LOCK");
  });

  it("cannot come with a name or a password that ends a statement", () => {
    expect(() => applicationStatements({ username: "a'b", password: "P" }, 1)).toThrow("characters other than");
    expect(() => passwordStatement({ username: "a", password: "P'" })).toThrow("characters other than");
  });
});
