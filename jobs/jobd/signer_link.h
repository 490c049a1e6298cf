/* jobd's connection to the signer: opened again with a growing pause whenever it is lost. */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "jobs/jobd/chains.h"
#include "jobs/jobd/jobd.h"

struct signer_link;

int signer_link_open(struct jobd *j, struct signer_link **ret, struct err *e);
void signer_link_close(struct signer_link **l);
/* ERR_UNAVAILABLE with the reason while it is away. */
int signer_link_bus(const struct signer_link *l, sd_bus **ret, struct err *e);
/* The CAs' chains as the signer gave them at connect, borrowed; ERR_UNAVAILABLE before that. */
int signer_link_chains(const struct signer_link *l, const struct chains **ret, struct err *e);
/* Why it is away; id ERR_NONE when it is not. */
const struct err *signer_link_error(const struct signer_link *l);
/* Head of the list of calls that wait for the signer. */
struct pending **signer_link_pending(struct signer_link *l);
