/* The handlers that verb_table names, by noun. */
#pragma once
#include "station/cli/verb.h"

int group_show(struct cli *c, json_t *answer, struct err *e);
int group_list(struct cli *c, json_t *answer, struct err *e);

int job_import(struct cli *c, struct err *e);
int job_request_show(struct cli *c, json_t *answer, struct err *e);
int job_approve(struct cli *c, struct err *e);
int job_withdraw(struct cli *c, struct err *e);
int job_show(struct cli *c, json_t *answer, struct err *e);
int job_list(struct cli *c, json_t *answer, struct err *e);
int job_report(struct cli *c, struct err *e);
int job_watch(struct cli *c, struct err *e);

int device_list(struct cli *c, struct err *e);
int device_show(struct cli *c, json_t *answer, struct err *e);
int device_register(struct cli *c, struct err *e);
int device_reissue(struct cli *c, struct err *e);
int device_revoke(struct cli *c, struct err *e);

int slot_list(struct cli *c, json_t *answer, struct err *e);
int sync_show(struct cli *c, json_t *answer, struct err *e);
int status_show(struct cli *c, json_t *answer, struct err *e);

int ca_show(struct cli *c, struct err *e);
int ca_crl(struct cli *c, struct err *e);
int ca_ledger(struct cli *c, struct err *e);
int doctor_run(struct cli *c, struct err *e);
int profile_list(struct cli *c, struct err *e);
int profile_show(struct cli *c, struct err *e);
int profile_check(struct cli *c, struct err *e);
int run_appliance(struct cli *c, struct err *e);
int version_print(struct cli *c, struct err *e);
int help_print(struct cli *c, struct err *e);
int completion_run(struct cli *c, struct err *e);
