/** The ways to a cluster, by the `transport` of its configuration. One line here makes another one known. */
import type { ClusterConfig } from "../config/index.js";
import { ConfigError } from "../errors.js";
import type { LoginOptions, Transport } from "./transport.js";

/** Opens the way to a cluster. Throws LoginError, HostKeyError, ConnectionError and InterruptedError. */
export async function openTransport(cluster: ClusterConfig, login: LoginOptions): Promise<Transport> {
  if (cluster.transport === "local") return (await import("./local.js")).openLocal();
  if (cluster.transport === "ssh") return (await import("./ssh.js")).openSsh(cluster, login);
  throw new ConfigError(
    `The cluster ${cluster.name} is reached by ${cluster.transport}, which this version does not speak.`,
    "Use a cluster with `transport: local`.",
  );
}

/**
 * What a connection to a cluster is: who, where, on what way. Clusters that two config.yaml call differently share one
 * line if this is the same. Throws ConfigError.
 */
export async function connectionKey(cluster: ClusterConfig): Promise<string> {
  if (cluster.transport === "local") return "local";
  if (cluster.transport === "ssh") {
    const route = await (await import("./ssh-config.js")).sshRoute(cluster);
    return JSON.stringify(["ssh", ...route.map((host) => `${host.user}@${host.host}:${host.port}`)]);
  }
  return JSON.stringify([
    cluster.transport,
    cluster.host?.toLowerCase(),
    cluster.user,
    cluster.port ?? 22,
    cluster.proxyJump,
  ]);
}
