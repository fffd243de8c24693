/** `make test-all`: everything. `make test` keeps one proof of each kind, so that it ends within its time. */
export const everything = process.env["TEST_SCOPE"] === "all";
