/** The ways to a cluster, by the `transport` of its configuration. Contract tests loop over this list. */
import type { ClusterConfig } from "../config/index.js";
import type { LoginOptions, Transport } from "./transport.js";

/** How each kind is opened. One line for one more; what it needs is loaded when it is. */
export const TRANSPORTS: Readonly<
  Record<ClusterConfig["transport"], (cluster: ClusterConfig, login: LoginOptions) => Promise<Transport>>
> = {
  local: async () => (await import("./local.js")).openLocal(),
  ssh: async (cluster, login) => (await import("./ssh.js")).openSsh(cluster, login),
  openssh: async (cluster, login) => (await import("./openssh.js")).openOpenSsh(cluster, login),
};

/** Opens the way to a cluster. Throws LoginError, HostKeyError, ConnectionError, ConfigError and InterruptedError. */
export function openTransport(cluster: ClusterConfig, login: LoginOptions): Promise<Transport> {
  return TRANSPORTS[cluster.transport](cluster, login);
}

/**
 * What a connection to a cluster is: who, where, on what way. Clusters that two config.yaml call differently share one
 * line if this is the same. Throws ConfigError.
 */
export async function connectionKey(cluster: ClusterConfig): Promise<string> {
  if (cluster.transport === "local") return "local";
  const { transport, host, user, port, proxyJump } = cluster;
  const { sshRoute } = await import("./ssh-config.js");
  try {
    const route = await sshRoute(cluster);
    return JSON.stringify([transport, ...route.map((h) => `${h.user}@${h.host}:${h.port}`)]);
  } catch (error) {
    if (transport === "ssh") throw error;
    // The system's ssh knows ways that we do not (ProxyCommand): then what config.yaml says is all there is to go by.
    return JSON.stringify([transport, host?.toLowerCase(), user, port ?? 22, proxyJump]);
  }
}
