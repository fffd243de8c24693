import { afterEach, expect, it, vi } from "vitest";
import { log } from "../../../components/shared/core/log";

afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

it.each([
  ["text", /^\S+Z the "leader" is etcd-1\n$/],
  ["json", /^\{"time":"[^"]+Z","message":"the \\"leader\\" is etcd-1"\}\n$/],
])("a line of the log in %s", (format, expected) => {
  vi.stubEnv("LOG_FORMAT", format);
  const write = vi.spyOn(process.stdout, "write").mockReturnValue(true);
  log('the "leader" is etcd-1');
  expect(write.mock.calls[0]?.[0]).toMatch(expected);
});
