import { inRange } from "../../../sandbox/networkpolicy/addresses";

export interface Packet {
  from: string;
  to: string;
  protocol: "tcp" | "udp" | "sctp";
  port: number;
}

/**
 * Reads a ruleset the way nftables does and says whether it forwards the first packet of a connection. It knows exactly
 * the statements the controller writes and refuses anything else, so a new statement has to be thought about here too.
 */
export function judge(text: string, packet: Packet): boolean {
  const chains = new Map<string, string[]>();
  const elements = new Map<string, string>();
  const blocks = text.matchAll(/^ {2}(chain|set|map) (\S+) \{\n([\s\S]*?)^ {2}\}$/gm);
  for (const [, kind, name = "", body = ""] of blocks) {
    if (kind === "chain")
      chains.set(
        name,
        body
          .split("\n")
          .map((line) => line.trim())
          .filter(Boolean),
      );
    else elements.set(name, /elements = \{([\s\S]*)\}/.exec(body)?.[1] ?? "");
  }
  const inSet = (value: string, set: string): boolean =>
    set
      .replace(/^\{|\}$/g, "")
      .split(",")
      .map((one) => one.trim())
      .some((one) => {
        if (/^\d+(-\d+)?$/.test(one)) {
          const [first = 0, last = first] = one.split("-").map(Number);
          return Number(value) >= first && Number(value) <= last;
        }
        return inRange(value, one);
      });

  const run = (chain: string): "accept" | "drop" | "return" => {
    const lines = chains.get(chain);
    if (lines === undefined) throw new Error(`no chain ${chain}`);
    for (const line of lines) {
      const verdict = evaluate(line.replace(/ comment ".*"$/, ""));
      if (verdict !== "continue") return verdict;
    }
    return "return";
  };

  const evaluate = (statement: string): "accept" | "drop" | "return" | "continue" => {
    let rest = statement;
    for (;;) {
      if (rest === "accept" || rest === "drop" || rest === "return") return rest;
      const map = /^ip (saddr|daddr) vmap @(\S+)$/.exec(rest);
      if (map !== null) {
        const address = map[1] === "saddr" ? packet.from : packet.to;
        const entries = (elements.get(map[2] ?? "") ?? "").split(",").map((one) => one.trim().split(" : jump "));
        const chain = entries.find(([key]) => key === address)?.[1];
        const verdict = chain === undefined ? "continue" : run(chain);
        return verdict === "return" ? "continue" : verdict;
      }
      // The first packet of an IPv4 connection: neither related nor an answer.
      if (/^(type filter hook|meta nfproto ipv6|ct state)/.test(rest)) return "continue";
      const match =
        /^(counter|meta nfproto ipv4|meta l4proto \w+|(?:ip [sd]addr|(?:tcp|udp|sctp) dport) (?:!= )?(?:\{[^}]*\}|\S+))(?: |$)/.exec(
          rest,
        );
      if (match === null) throw new Error(`not understood: ${rest}`);
      if (!holds(match[1] ?? "")) return "continue";
      rest = rest.slice(match[0].length);
    }
  };

  const holds = (condition: string): boolean => {
    if (condition === "counter" || condition === "meta nfproto ipv4") return true;
    const [subject = "", field = "", ...value] = condition.split(" ");
    if (subject === "meta") return value[0] === packet.protocol;
    const negated = value[0] === "!=";
    const set = (negated ? value.slice(1) : value).join(" ");
    const resolved = set.startsWith("@") ? (elements.get(set.slice(1)) ?? "") : set;
    if (field === "dport") return subject === packet.protocol && inSet(String(packet.port), resolved);
    return inSet(field === "saddr" ? packet.from : packet.to, resolved) !== negated;
  };

  return run("forward") !== "drop";
}
