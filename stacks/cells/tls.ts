/** Which services each version of Cells can reach over TLS: the one place that decides on the default of every `tls`. */
import type { TlsMode } from "../../components/shared/deploy";
import type { CellsVersion, ServiceName } from "../config";

/**
 * `required`: Cells connects over TLS. `optional`: Cells connects in plain text, and whoever can uses TLS on the same port.
 * `off`: nobody can use TLS, because the service speaks one of both on its port. In dev and prod alike.
 */
export type TlsDefault = { mode: "required" } | { mode: Exclude<TlsMode, "required">; reason: string };

const required: TlsDefault = { mode: "required" };
const optional = (reason: string): TlsDefault => ({ mode: "optional", reason });

const broker = optional("the broker of Cells refuses any parameter in its URL, and with it those of TLS");

export const tlsDefaults: { [S in ServiceName]: { [V in CellsVersion]: TlsDefault } } = {
  etcd: { v4: required, v5: optional("the etcd driver of Cells v5 knows no TLS") },
  vault: { v4: required, v5: required },
  nats: { v4: broker, v5: broker },
  redis: {
    v4: required,
    v5: { mode: "off", reason: "Cells v5 connects in plain text whatever it is told, and Redis serves one of both" },
  },
  mongodb: { v4: required, v5: optional("the chart of Cells v5 passes no option of TLS on to the driver") },
  mysql: {
    v4: optional("the install file of Cells v4 has a place for host, port and user of MySQL, and none for TLS"),
    v5: optional("Cells v5 trusts the authorities of its system only, and its chart gives the installer no other"),
  },
  objectstore: { v4: required, v5: required },
};
