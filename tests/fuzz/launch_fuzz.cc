// SPDX-License-Identifier: Apache-2.0
// What launchers say in the environment: lines NAME=VALUE of the variables that src/bootstrap
// reads.
#include <cstdlib>

#include "src/bootstrap/bootstrap.h"
#include "tests/fuzz/fuzz.h"

namespace tutti::fuzz {
namespace {

constexpr const char* kNames[] = {"TUTTI_RANK",
                                  "TUTTI_SIZE",
                                  "TUTTI_LOCAL_RANK",
                                  "TUTTI_LOCAL_SIZE",
                                  "TUTTI_JOB",
                                  "RANK",
                                  "WORLD_SIZE",
                                  "LOCAL_RANK",
                                  "LOCAL_WORLD_SIZE",
                                  "MASTER_ADDR",
                                  "MASTER_PORT",
                                  "TORCHELASTIC_RUN_ID",
                                  "TORCHELASTIC_RESTART_COUNT",
                                  "OMPI_COMM_WORLD_RANK",
                                  "OMPI_COMM_WORLD_SIZE",
                                  "OMPI_COMM_WORLD_LOCAL_RANK",
                                  "OMPI_COMM_WORLD_LOCAL_SIZE",
                                  "PMIX_NAMESPACE",
                                  "OMPI_MCA_ess_base_jobid",
                                  "OMPI_MCA_orte_hnp_uri",
                                  "PMI_RANK",
                                  "PMI_SIZE",
                                  "PMI_JOBID",
                                  "PMI_PORT",
                                  "MPI_LOCALRANKID",
                                  "MPI_LOCALNRANKS",
                                  "SLURM_PROCID",
                                  "SLURM_STEP_ID",
                                  "SLURM_JOB_ID",
                                  "SLURM_NTASKS",
                                  "SLURM_LOCALID",
                                  "SLURM_STEP_NUM_TASKS",
                                  "SLURM_STEP_TASKS_PER_NODE",
                                  "SLURM_NODEID",
                                  "JOB_COMPLETION_INDEX",
                                  "KUBERNETES_SERVICE_HOST"};

void set_variables(std::string_view lines) {
  for (const char* name : kNames) ::unsetenv(name);
  while (!lines.empty()) {
    const std::string_view line = lines.substr(0, lines.find('\n'));
    lines.remove_prefix(std::min(lines.size(), line.size() + 1));
    const size_t equals = line.find('=');
    if (equals == std::string_view::npos) continue;
    for (const char* name : kNames) {
      if (line.substr(0, equals) == name)
        ::setenv(name, std::string(line.substr(equals + 1)).c_str(), 1);
    }
  }
  // Without a job's name the launcher is looked for among this process's ancestors, which are not
  // the input's.
  if (std::getenv("PMI_RANK") != nullptr && std::getenv("PMI_PORT") == nullptr)
    ::setenv("PMI_JOBID", "job", 0);
}

}  // namespace

void run(std::string_view input) {
  set_variables(input);
  const auto detected = accepted([] { return bootstrap::detect_launch(); });
  if (!detected || !*detected) return;
  const bootstrap::Launch& launch = **detected;
  require(launch.size >= 1 && launch.rank >= 0 && launch.rank < launch.size, "a rank of the job");
  require(launch.local_size >= 1 && launch.local_size <= launch.size, "a host's part of the job");
  require(launch.local_rank >= 0 && launch.local_rank < launch.local_size, "a rank of the host");
  require(!launch.launcher.empty(), "the launcher has a name");
}

std::vector<std::string> seeds() {
  return {"TUTTI_RANK=1\nTUTTI_SIZE=4\nTUTTI_LOCAL_RANK=1\nTUTTI_LOCAL_SIZE=2\nTUTTI_JOB=a\n",
          "RANK=0\nWORLD_SIZE=2\nLOCAL_RANK=0\nLOCAL_WORLD_SIZE=2\nMASTER_ADDR=localhost\n"
          "MASTER_PORT=29500\nTORCHELASTIC_RUN_ID=none\n",
          "OMPI_COMM_WORLD_RANK=3\nOMPI_COMM_WORLD_SIZE=4\nOMPI_COMM_WORLD_LOCAL_RANK=1\n"
          "OMPI_COMM_WORLD_LOCAL_SIZE=2\nPMIX_NAMESPACE=4711@1\n",
          "PMI_RANK=0\nPMI_SIZE=2\nPMI_JOBID=7\nMPI_LOCALRANKID=0\nMPI_LOCALNRANKS=2\n",
          "SLURM_PROCID=2\nSLURM_STEP_ID=0\nSLURM_JOB_ID=12\nSLURM_NTASKS=7\nSLURM_LOCALID=0\n"
          "SLURM_STEP_TASKS_PER_NODE=2(x3),1\nSLURM_NODEID=1\n",
          "JOB_COMPLETION_INDEX=1\nTUTTI_SIZE=3\nKUBERNETES_SERVICE_HOST=10.0.0.1\n"};
}

}  // namespace tutti::fuzz
