/** The configuration of HAProxy 3.2: pure. The agent writes it: only a pod knows the domain of its cluster and the kernel of its node. */
import { memberHost, memberNames } from "./names";
import { agentPorts } from "./settings";

export const gatewayPaths = { run: "/run/haproxy", config: "/run/haproxy/haproxy.cfg" } as const;
export const gatewayMetricsPort = 8405;
/** For probes and scrapes: a proxy whose clients use all their connections is healthy, and its liveness probe must not wait with them. */
const reservedConnections = 64;

export interface GatewaySettings {
  name: string;
  members: number;
  /** Of the clients and of the servers alike. */
  port: number;
  /** Of clients; further ones wait. */
  maxConnections: number;
}

/** `ipv6`: whether the kernel has IPv6. On a kernel without it, HAProxy does not start when it should listen on both families. */
export function gatewayConfig(settings: GatewaySettings, namespace: string, domain: string, ipv6: boolean): string {
  const { name, members, port, maxConnections } = settings;
  const bind = (each: number): string => (ipv6 ? `  bind [::]:${each} v4v6` : `  bind :${each}`);
  return [
    "global",
    `  maxconn ${maxConnections + reservedConnections}`,
    "  # The default is one thread for each core of the node: a fifth more CPU here, and memory for each of them.",
    "  nbthread 1",
    "  # Sessions that are still open when it is told to stop are closed then, inside the grace period.",
    "  hard-stop-after 20s",
    "  log stdout format raw local0 notice",
    "",
    "defaults",
    "  mode tcp",
    "  log global",
    "  # Errors only: a line for each connection says nothing that metrics do not say.",
    "  option dontlog-normal",
    "  timeout connect 3s",
    "  # Pools keep connections idle for hours; dead peers are found by keep-alive.",
    "  timeout client 24h",
    "  timeout server 24h",
    "  option clitcpka",
    "  option srvtcpka",
    "  retries 3",
    "  option redispatch",
    "",
    "resolvers cluster",
    "  parse-resolv-conf",
    "  # A replaced pod has another address: look every second, forget after two.",
    "  hold valid 1s",
    "  hold obsolete 2s",
    "  # When the DNS itself is away, or knows nothing yet, the addresses are still good; who is behind them says its agent.",
    "  hold nx 1h",
    "  hold timeout 1h",
    "  hold refused 1h",
    "  hold other 1h",
    "  resolve_retries 3",
    "  timeout resolve 1s",
    "  timeout retry 500ms",
    "  accepted_payload_size 8192",
    "",
    "frontend clients",
    `  maxconn ${maxConnections}`,
    bind(port),
    "  default_backend primary",
    "",
    "backend primary",
    '  # A server is used while its agent says "up" and its port answers. The agent is asked twice. Every quarter of a second alone: a',
    '  # "down" takes effect at once, and silence changes nothing there. And before the port, so that only the primary is connected',
    "  # to: every two seconds, four times in vain, which takes six to eight seconds, since an agent needs up to five to start again.",
    "  option tcp-check",
    `  tcp-check connect port ${agentPorts.gateway}`,
    "  tcp-check expect string up",
    "  tcp-check connect",
    // Of a name without an IPv4 address HAProxy asks for the IPv6 address at once (seen with 3.2.26).
    `  default-server check inter 2s downinter 250ms rise 1 fall 4 agent-check agent-port ${agentPorts.gateway} agent-inter 250ms init-state fully-down init-addr none resolvers cluster resolve-prefer ipv4 on-marked-down shutdown-sessions`,
    ...memberNames(name, members).map(
      (member) => `  server ${member} ${memberHost(name, namespace, member)}.${domain}.:${port}`,
    ),
    "",
    "frontend status",
    "  mode http",
    bind(gatewayMetricsPort),
    "  monitor-uri /healthz",
    "  http-request use-service prometheus-exporter if { path /metrics }",
    "  timeout client 10s",
    "",
  ].join("\n");
}
