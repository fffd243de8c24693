/** `cells-services`: everything. A program that uses few of the services imports `cells-services/<service>`, which loads only its code. */
export { EtcdCluster, type EtcdClusterArguments } from "./etcd";
export { MongodbCluster, type MongodbClusterArguments } from "./mongodb";
export { MysqlCluster, type MysqlClusterArguments } from "./mysql";
export { NatsCluster, type NatsClusterArguments } from "./nats";
export { ObjectStore, type ObjectStoreArguments } from "./objectstore";
export { type KubernetesProviderArguments, kubernetesProvider } from "./provider";
export { RedisCluster, type RedisClusterArguments } from "./redis";
export { VaultCluster, type VaultClusterArguments } from "./vault";
