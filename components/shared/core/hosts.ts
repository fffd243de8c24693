/** The names of the members in the hosts file of a pod, so that its servers never wait for the DNS: pure. */

/** The agent writes the file; servers and agent have it as `/etc/hosts`. */
export const hostsPaths = { directory: "/run/hosts", file: "hosts", mounted: "/etc/hosts" } as const;

/** What the DNS says of a name: its address, that there is none, or nothing. */
export type Answer = { address: string } | "none" | "silent";

/** The address of this pod that Kubernetes counts with: in a pod with two, the kubelet writes it first. */
export function ownAddress(text: string, pod: string): string {
  const own = text
    .split("\n")
    .map((line) => line.split(/\s+/))
    .find(([, ...names]) => names.includes(pod));
  if (own?.[0] === undefined) throw new Error(`${hostsPaths.mounted} has no line that names ${pod}`);
  return own[0];
}

/** The lines with these names follow the answers; what the DNS is silent about stays as it was, like all other lines. */
export function followAnswers(text: string, answers: ReadonlyMap<string, Answer>, domain: string): string {
  const answered = [...answers].filter(([, answer]) => answer !== "silent");
  const names = new Set(answered.map(([name]) => name));
  const kept = text.split("\n").filter((line) => line !== "" && !names.has(line.split("\t")[1] ?? ""));
  const found = answered.flatMap(([name, answer]) =>
    typeof answer === "string" ? [] : [[answer.address, name, `${name}.${domain}`].join("\t")],
  );
  return [...kept, ...found, ""].join("\n");
}

/** The domain of the cluster, from the search list that the kubelet writes: `<namespace>.svc.<domain>` comes first. */
export function clusterDomain(resolvConf: string, namespace: string): string {
  const search = resolvConf.split("\n").findLast((line) => /^search\s/.test(line)) ?? "";
  const prefix = `${namespace}.svc.`;
  const own = search.split(/\s+/).find((each) => each.startsWith(prefix));
  if (own === undefined) {
    throw new Error(
      `/etc/resolv.conf has no search domain that starts with ${prefix}, got ${JSON.stringify(search)}; ` +
        "members and gateway need the DNS policy ClusterFirst",
    );
  }
  return own.slice(prefix.length).replace(/\.$/, "");
}
