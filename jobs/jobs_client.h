/* People's door, org.keyline.Jobs1 at /org/keyline/Jobs1 on PATH_JOBS_SOCKET: the command line and, later, webd.
 * Every answer is one JSON text whose members docs/json.md lists; a refusal is a named bus error.
 *   GroupAdd(s name, s description) -> s        GroupList() -> s
 *   JobImport(h manifest, a{ss} options) -> s   options: name, group (for rows without device_group), profile, binding,
 *        station (names separated by commas; default "*"),
 *        add_groups ("yes": missing groups are made), reissue ("yes": rows may name devices that there are; with the
 *        approval they get new certificates). A manifest with errors gives {"imported":false,"errors":[..]}.
 *   JobRequest(s job) -> s                      what the approver signs (hsm/approval/ticket.h, request)
 *   JobApprove(s job, s ticket) -> s            the signer checks the ticket first
 *   JobReject(s job, s reason) -> s             JobTerminate(s job, s reason) -> s
 *   JobList() -> s   JobShow(s job) -> s        JobReport(s job, t after_row, u limit) -> s
 *   DeviceList(a{ss} filter, s cursor, u limit) -> s    filter keys: job, group, state, name (prefix)
 *   DeviceShow(s device) -> s                   device: its ID, "group/name", or a name unique in the registry, or hwid
 *   DeviceRegister(a{ss} row) -> s              a manifest of one row: a job of its own, pending approval
 *   DeviceReissue(as devices, s name) -> s      a re-issue job of these devices' own rows, pending approval; name "": made up
 *   Order(s order) -> s                         what an approver orders (hsm/approval/order.h): carried out by the signer, then kept here
 *   Ledger(s device, t before, u limit) -> s    what the signer's ledger says, newest first; device "": of all
 *   RenewCrls() -> s                            new CRLs of all CAs
 *   SlotList() -> s   SyncStatus() -> s   SyncRetry() -> s   Status() -> s
 * `job` is the job's UUID, a unique prefix of it (>= 4 characters), or its unique name. */
#pragma once
#include <stddef.h>
#include <systemd/sd-bus.h>
#include "base/buf.h"
#include "base/err.h"

struct paths;
struct jobs_option {
    const char *key, *value;
};

int jobs_open(const struct paths *p, sd_bus **ret, struct err *e);
/* Calls `method` whose arguments are all of type s, in order; ret_json gets the answer. */
int jobs_call(sd_bus *bus, const char *method, const char *const *args, size_t arg_count,
        struct buf *ret_json, struct err *e);
int jobs_import(sd_bus *bus, int manifest_fd, const struct jobs_option *options, size_t count,
        struct buf *ret_json, struct err *e);
int jobs_report(sd_bus *bus, const char *job, uint64_t after_row, unsigned limit,
        struct buf *ret_json, struct err *e);
int jobs_devices(sd_bus *bus, const struct jobs_option *filter, size_t count, const char *cursor,
        unsigned limit, struct buf *ret_json, struct err *e);
int jobs_ledger(sd_bus *bus, const char *device, uint64_t before, unsigned limit,
        struct buf *ret_json, struct err *e);
int jobs_device_reissue(sd_bus *bus, const char *const *devices, size_t count, const char *name,
        struct buf *ret_json, struct err *e);
int jobs_device_register(sd_bus *bus, const struct jobs_option *row, size_t count,
        struct buf *ret_json, struct err *e);
