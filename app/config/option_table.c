/* SPDX-License-Identifier: MIT */
#include "app/config/option.h"

#include <assert.h>

static const struct command_row commands[COMMAND_COUNT] = {
    [COMMAND_CHAT] = { "", "[-m MODEL] [options]", "chat, full screen", "", 0, 0, "" },
    [COMMAND_RUN] = { "run", "[-p TEXT] [-f FILE] [options]", "one answer to a prompt or to piped text",
        "The answer goes to stdout as it is made, everything else to stderr. The prompt is what -p says, "
        "then the content of -f, then what is piped in; any of the three will do.", 0, 0, "" },
    [COMMAND_MODELS] = { "models", "[--json]", "models that are here, and those that can be fetched",
        "", 0, 0, "" },
    [COMMAND_PULL] = { "pull", "NAME", "fetch a model of the list",
        "Continues where an earlier fetch was interrupted, and checks the file's SHA-256.", 1, 1, "NAME" },
    [COMMAND_INSPECT] = { "inspect", "FILE [options]", "what is in a GGUF file, and the memory it will take",
        "", 0, 1, "FILE" },
    [COMMAND_TOKENIZE] = { "tokenize", "-m MODEL [-f FILE] [options]", "text to tokens",
        "Takes the text from -p, -f or stdin, also with a vocabulary that has no weights.", 0, 0, "" },
    [COMMAND_TEMPLATE] = { "template", "(-m MODEL | --template FILE) INPUT.json", "messages to a prompt",
        "INPUT.json is an object whose members are the template's variables: messages, and where given "
        "tools, add_generation_prompt, bos_token, eos_token, now and any other. - is stdin.",
        1, 1, "INPUT.json" },
    [COMMAND_LOGITS] = { "logits", "-m MODEL --ids FILE -o OUT [options]", "token ids to logits",
        "Writes one row of float32 per id, as long as the vocabulary, in the machine's byte order.", 0, 0, "" },
    [COMMAND_PERPLEXITY] = { "perplexity", "-m MODEL (-f FILE | --kl-base FILE) [options]",
        "how well a model predicts a text",
        "Defined and written as llama.cpp does: chunks of -c tokens, the second half of each is scored. With "
        "--kl-model also how far the predictions are from another model's, with --kl-base from those in a file; "
        "--versus compares two models at the same places.", 0, 0, "" },
    [COMMAND_BENCH] = { "bench", "-m MODEL [options]", "speed of reading a prompt and of answering",
        "Fields and tests are those of llama-bench, so results can be laid side by side.", 0, 0, "" },
    [COMMAND_IMATRIX] = { "imatrix", "[-m MODEL] [-f FILE] [-o OUT] [options]",
        "which columns of a model's matrices matter, for `quip quantize`",
        "Reads a text with the model, in chunks of -c tokens, and adds up the squares of what comes into each matrix, by "
        "column. Files of --in-file are added; without -m that is all that is done, so files are merged and turned into "
        "another format. Files and fields are those of llama-imatrix.", 0, 0, "" },
    [COMMAND_QUANTIZE] = { "quantize", "IN OUT LEVEL [options]", "a smaller level of a model, made from a better one",
        "IN is a GGUF file or a name that `quip models` shows, best one of F16, BF16 or F32. LEVEL is one of F32 F16 BF16 "
        "Q8_0 Q6_K Q5_K_M Q5_K_S Q5_1 Q5_0 Q4_K_M Q4_K_S Q4_1 Q4_0 IQ4_NL IQ4_XS MXFP4_MOE Q3_K_L Q3_K_M Q3_K_S Q2_K "
        "Q2_K_S, and means to each tensor what it means to llama.cpp, which can use the file.", 1, 3, "IN OUT LEVEL" },
    [COMMAND_EVAL] = { "eval", "(hellaswag FILE | gsm8k FILE | quick) -m MODEL [options]",
        "tasks with right and wrong answers, or a measure in seconds",
        "hellaswag: which of four endings is likeliest, tasks, order and score as llama.cpp has them; six lines a "
        "task. gsm8k: word problems, answered greedily through the chat template; a line of JSON a task. quick: both "
        "speeds, and the KL divergence from --kl-model or --kl-base over as much of a short text as fits the time.",
        1, 2, "KIND FILE" },
    [COMMAND_LEVELS] = { "levels", "[-m MODEL] [options]", "levels a model has and can have, what each takes and gives",
        "Lists the files of the same model that lie beside the given one and in the model folder, and what can be made of "
        "the best of them: size, bits per weight, memory at this context, whether it fits, tokens a second, and the KL "
        "divergence from the best. ~ marks what is estimated.", 0, 0, "" },
    [COMMAND_FIT] = { "fit", "[-m MODEL] [options]", "the memory a model would take, and what would fit",
        "Worked out from the head of the file; nothing is loaded.", 0, 0, "" },
    [COMMAND_CACHE] = { "cache", "[clear] [-m MODEL] [--json]", "what was kept of prompts read before",
        "Lists the files in which system prompts and chats are kept, so that a later start need not read them "
        "again. `quip cache clear` removes them.", 0, 1, "clear" },
    [COMMAND_DOCTOR] = { "doctor", "[--json]", "what this machine has, and what quip makes of it",
        "Processor, memory, devices with what they can do and why one is not used, folders, terminal.", 0, 0, "" },
};

const struct command_row *command_row(enum command c)
{
    assert(c >= 0 && c < COMMAND_COUNT);
    return &commands[c];
}

#define CHAT (1u << COMMAND_CHAT)
#define RUN (1u << COMMAND_RUN)
#define MODELS (1u << COMMAND_MODELS)
#define PULL (1u << COMMAND_PULL)
#define INSPECT (1u << COMMAND_INSPECT)
#define TOKENIZE (1u << COMMAND_TOKENIZE)
#define TEMPLATE (1u << COMMAND_TEMPLATE)
#define LOGITS (1u << COMMAND_LOGITS)
#define PERPLEXITY (1u << COMMAND_PERPLEXITY)
#define BENCH (1u << COMMAND_BENCH)
#define IMATRIX (1u << COMMAND_IMATRIX)
#define QUANTIZE (1u << COMMAND_QUANTIZE)
#define EVAL (1u << COMMAND_EVAL)
#define LEVELS (1u << COMMAND_LEVELS)
#define FIT (1u << COMMAND_FIT)
#define CACHE (1u << COMMAND_CACHE)
#define DOCTOR (1u << COMMAND_DOCTOR)
#define ALL ((1u << COMMAND_COUNT) - 1)
#define MEASURE (LOGITS | PERPLEXITY | BENCH | EVAL)
#define PRICE (LEVELS | FIT)
#define ENGINE (CHAT | RUN | MEASURE | PRICE)

#define KV_TYPES "f16 q8_0 q4_0 kv4 kv3 f32"

#define AT(member) offsetof(struct config, member)
#define TEXT_OF_TOKENS(x) #x
#define TEXT_OF(macro) TEXT_OF_TOKENS(macro)

static const struct option rows[] = {
    { .names = "-m --model", .kind = OPTION_TEXT, .offset = AT(model), .value = "MODEL",
      .commands = ENGINE | INSPECT | TOKENIZE | TEMPLATE | IMATRIX,
      .help = "a GGUF file, or a name that `quip models` shows" },

    { .names = "-m --model", .kind = OPTION_TEXT, .offset = AT(model), .value = "MODEL", .commands = CACHE,
      .help = "only what belongs to this model, called as the list calls it" },

    { .names = "-p --prompt", .kind = OPTION_TEXT, .offset = AT(prompt), .value = "TEXT",
      .commands = RUN, .help = "what to ask" },
    { .names = "-p --prompt", .kind = OPTION_TEXT, .offset = AT(prompt), .value = "TEXT",
      .commands = TOKENIZE, .help = "the text" },
    { .names = "-f --file", .kind = OPTION_TEXT, .offset = AT(file), .value = "FILE",
      .commands = RUN | TOKENIZE | PERPLEXITY, .help = "text from a file; - is stdin" },
    { .names = "-f --file", .kind = OPTION_TEXT, .offset = AT(file), .value = "FILE", .commands = IMATRIX,
      .help = "the text to read, - is stdin; without it one that comes with quip: chat, prose, code, many languages" },
    { .names = "-f --file", .kind = OPTION_TEXT, .offset = AT(file), .value = "FILE", .commands = EVAL,
      .help = "quick: this text in place of the one that comes with the program" },
    { .names = "--system -sys --system-prompt", .kind = OPTION_TEXT, .offset = AT(system),
      .value = "TEXT", .commands = CHAT | RUN, .help = "system prompt" },
    { .names = "--system-file -sysf --system-prompt-file", .kind = OPTION_TEXT,
      .offset = AT(system_file), .value = "FILE", .commands = CHAT | RUN,
      .help = "system prompt from a file" },
    { .names = "-n --predict --n-predict", .kind = OPTION_INT, .offset = AT(n_predict), .value = "N",
      .min = -1, .max = 1 << 24, .preset = TEXT_OF(OPTION_PREDICT), .commands = CHAT | RUN,
      .help = "tokens of an answer at most; -1: until it ends" },
    { .names = "-n --predict --n-predict", .kind = OPTION_INT, .offset = AT(n_predict), .value = "N",
      .min = -1, .max = 1 << 24, .preset = "512", .commands = EVAL,
      .help = "gsm8k: tokens of an answer at most; -1: until it ends" },
    { .names = "--think", .kind = OPTION_CHOICE, .offset = AT(think), .value = "MODE",
      .choices = "fold on off", .preset = "fold", .commands = CHAT | RUN | EVAL,
      .help = "thoughts of models that think: fold hides them, on shows them, off asks for none" },
    { .names = "--spec", .kind = OPTION_INT, .offset = AT(spec), .value = "N", .choices = "auto off", .min = 1,
      .max = OPTION_SPEC_MOST, .preset = "auto", .commands = CHAT | RUN,
      .help = "drafts taken from what was said before: as many as pay, none, or up to N tokens at a time; changes "
              "the speed and no token" },
    { .names = "--spec-file", .kind = OPTION_TEXTS, .offset = AT(spec_files), .value = "FILE",
      .commands = CHAT | RUN, .help = "draft from this text too; may be given several times" },
    { .names = "--spec-chats", .kind = OPTION_FLAG, .offset = AT(spec_chats), .commands = CHAT,
      .help = "draft from chats of this run that are over too" },
    { .names = "--ignore-eos", .kind = OPTION_FLAG, .offset = AT(ignore_end), .commands = RUN,
      .help = "go on after the end of the answer" },
    { .names = "--raw", .kind = OPTION_FLAG, .offset = AT(raw), .commands = RUN,
      .help = "go on with the text as it is, without the chat template (for base models)" },
    { .names = "--line", .kind = OPTION_FLAG, .offset = AT(line_mode), .commands = CHAT,
      .help = "plain lines instead of the full screen (also for TERM=dumb or ACCESSIBLE=1)" },

    { .names = "--ids", .kind = OPTION_FLAG, .offset = AT(show_ids), .commands = TOKENIZE,
      .help = "ids alone, all on one line" },
    { .names = "--no-bos", .kind = OPTION_FLAG, .offset = AT(no_bos), .commands = TOKENIZE,
      .help = "no beginning token in front" },
    { .names = "--special --parse-special", .kind = OPTION_FLAG, .offset = AT(special), .commands = TOKENIZE | IMATRIX,
      .help = "names of special tokens in the text become these tokens" },
    { .names = "--template", .kind = OPTION_TEXT, .offset = AT(template_file), .value = "FILE",
      .commands = TEMPLATE, .help = "a Jinja template instead of the model's own" },

    { .names = "--ids", .kind = OPTION_TEXT, .offset = AT(ids_file), .value = "FILE",
      .commands = LOGITS, .help = "token ids as text; - is stdin" },
    { .names = "-o --output", .kind = OPTION_TEXT, .offset = AT(output), .value = "OUT",
      .commands = LOGITS, .help = "where the logits go; - is stdout" },
    { .names = "--chunks", .kind = OPTION_INT, .offset = AT(n_chunks), .value = "N", .min = -1,
      .max = 1 << 24, .preset = "-1", .commands = PERPLEXITY | IMATRIX, .help = "chunks at most; -1: all" },
    { .names = "--save-logits --kl-divergence-base --save-all-logits", .kind = OPTION_TEXT,
      .offset = AT(save_logits), .value = "FILE", .commands = PERPLEXITY | EVAL,
      .help = "keep the log-probabilities, in the file format of llama.cpp's KL divergence base" },
    { .names = "--kl-base", .kind = OPTION_TEXT, .offset = AT(kl_base), .value = "FILE",
      .commands = PERPLEXITY | EVAL,
      .help = "compare with the log-probabilities in such a file; it has text and -c too" },
    { .names = "--kl-model", .kind = OPTION_TEXT, .offset = AT(kl_model), .value = "MODEL",
      .commands = PERPLEXITY | EVAL, .help = "compare with the predictions of this model; both are in memory" },
    { .names = "--versus", .kind = OPTION_TEXT, .offset = AT(versus), .value = "MODEL",
      .commands = PERPLEXITY, .help = "another model over the same text, and what the two differ by" },

    { .names = "--limit --hellaswag-tasks", .kind = OPTION_INT, .offset = AT(eval_limit), .value = "N",
      .min = 0, .max = 1 << 24, .preset = "0", .commands = EVAL,
      .help = "tasks drawn from the file; 0: 400 of hellaswag, 100 of gsm8k" },
    { .names = "-s --seed", .kind = OPTION_INT, .offset = AT(eval_seed), .value = "N", .min = 0, .max = INT32_MAX,
      .preset = "1", .commands = EVAL, .help = "which tasks are drawn" },
    { .names = "--shots", .kind = OPTION_INT, .offset = AT(n_shots), .value = "N", .min = 0, .max = 8, .preset = "0",
      .commands = EVAL, .help = "gsm8k: examples with their answers before each question" },
    { .names = "--save", .kind = OPTION_TEXT, .offset = AT(eval_save), .value = "FILE", .commands = EVAL,
      .help = "keep each answer there, and go on from it after a run that was stopped" },
    { .names = "--seconds", .kind = OPTION_INT, .offset = AT(eval_seconds), .value = "N", .min = 1, .max = 3600,
      .preset = "20", .commands = EVAL, .help = "quick: time it may take" },

    { .names = "-p --n-prompt", .kind = OPTION_LIST, .offset = AT(bench_prompt), .value = "N,...",
      .min = 0, .max = 1 << 20, .preset = "512", .commands = BENCH, .help = "prompt lengths to measure" },
    { .names = "-n --n-gen", .kind = OPTION_LIST, .offset = AT(bench_predict), .value = "N,...",
      .min = 0, .max = 1 << 20, .preset = "128", .commands = BENCH, .help = "answer lengths to measure" },
    { .names = "-t --threads", .kind = OPTION_LIST, .offset = AT(bench_threads), .value = "N,...",
      .min = 0, .max = 512, .preset = "0", .commands = BENCH,
      .help = "threads that compute; 0: one for each core" },
    { .names = "-r --repetitions", .kind = OPTION_INT, .offset = AT(bench_repeat), .value = "N",
      .min = 1, .max = 1000, .preset = "5", .commands = BENCH, .help = "how often each test is timed" },
    { .names = "-o --output", .kind = OPTION_CHOICE, .offset = AT(bench_format), .value = "FORMAT",
      .choices = "md json", .preset = "md", .commands = BENCH, .help = "md: a table, json: all fields" },
    { .names = "-d --n-depth", .kind = OPTION_LIST, .offset = AT(bench_depth), .value = "N,...",
      .min = 0, .max = 1 << 20, .preset = "0", .commands = BENCH,
      .help = "tokens in the cache before each test, not timed" },
    { .names = "-d --n-depth", .kind = OPTION_INT, .offset = AT(held), .value = "N", .min = 0, .max = 1 << 24,
      .preset = "0", .commands = LEVELS, .help = "tokens of the conversation when speeds are told; 0: a few" },
    { .names = "--memory", .kind = OPTION_FLAG, .offset = AT(bench_memory), .commands = BENCH,
      .help = "instead of speed: memory of the process at each depth, beside the figure computed for the cache" },
    { .names = "--passes", .kind = OPTION_FLAG, .offset = AT(bench_passes), .commands = BENCH,
      .help = "instead of speed: what a pass of several tokens takes at each depth, which decides what is drafted" },
    { .names = "--no-warmup", .kind = OPTION_FLAG, .offset = AT(no_warmup), .commands = BENCH,
      .help = "time the first run too" },

    { .names = "-o --output --output-file", .kind = OPTION_TEXT, .offset = AT(output), .value = "OUT",
      .preset = "imatrix.gguf", .commands = IMATRIX, .help = "where the importance matrix goes" },
    { .names = "--output-format", .kind = OPTION_CHOICE, .offset = AT(imatrix_format), .value = "FORMAT",
      .choices = "gguf dat", .preset = "gguf", .commands = IMATRIX,
      .help = "gguf, or dat: the older one, without counts" },
    { .names = "--in-file", .kind = OPTION_TEXTS, .offset = AT(in_files), .value = "FILE", .commands = IMATRIX,
      .help = "an importance matrix to be added, of either format; may be given several times" },
    { .names = "--process-output", .kind = OPTION_FLAG, .offset = AT(process_output), .commands = IMATRIX,
      .help = "of the output matrix too, be it the embedding" },
    { .names = "--from-chunk --chunk", .kind = OPTION_INT, .offset = AT(first_chunk), .value = "N", .min = 0,
      .max = 1 << 24, .preset = "0", .commands = IMATRIX, .help = "leave out the first N chunks" },
    { .names = "-ofreq --output-frequency", .kind = OPTION_INT, .offset = AT(save_every), .value = "N", .min = 0,
      .max = 1 << 24, .preset = "10", .commands = IMATRIX,
      .help = "write OUT after every N chunks, besides at the end; 0: only then" },
    { .names = "--show-statistics", .kind = OPTION_FLAG, .offset = AT(show_statistics), .commands = IMATRIX,
      .help = "print figures of each tensor; with --in-file and without -m nothing else is done" },
    { .names = "--imatrix", .kind = OPTION_TEXT, .offset = AT(imatrix), .value = "FILE", .commands = QUANTIZE,
      .help = "importance matrix: which columns matter (GGUF or the older format of llama.cpp)" },
    { .names = "--target-size", .kind = OPTION_TEXT, .offset = AT(target_size), .value = "SIZE", .commands = QUANTIZE,
      .help = "instead of LEVEL: the types with the least error in a file of this size, such as 900M or 800MiB" },
    { .names = "--target-bpw", .kind = OPTION_TEXT, .offset = AT(target_bpw), .value = "BITS", .commands = QUANTIZE,
      .help = "the same for bits per weight" },
    { .names = "--tensor-type", .kind = OPTION_TEXTS, .offset = AT(tensor_types), .value = "PATTERN=TYPE",
      .commands = QUANTIZE,
      .help = "type of the tensors in whose names the regular expression is found; may be given several times, the first "
              "that is found counts" },
    { .names = "--output-tensor-type", .kind = OPTION_TEXT, .offset = AT(output_type), .value = "TYPE",
      .commands = QUANTIZE, .help = "type of the output matrix" },
    { .names = "--token-embedding-type", .kind = OPTION_TEXT, .offset = AT(embedding_type), .value = "TYPE",
      .commands = QUANTIZE, .help = "type of the embedding" },
    { .names = "--pure", .kind = OPTION_FLAG, .offset = AT(pure), .commands = QUANTIZE,
      .help = "the level's base type for every tensor that is quantised" },
    { .names = "--allow-requantize", .kind = OPTION_FLAG, .offset = AT(allow_requantize), .commands = QUANTIZE,
      .help = "also from weights that are quantised already; what that lost stays lost" },
    { .names = "--dry-run", .kind = OPTION_FLAG, .offset = AT(dry_run), .commands = QUANTIZE,
      .help = "only say what each tensor would be, and how large the file; OUT may be left out" },
    { .names = "--force", .kind = OPTION_FLAG, .offset = AT(force), .commands = QUANTIZE,
      .help = "put OUT in the place of a file that is there" },

    { .names = "-c --ctx-size", .kind = OPTION_INT, .offset = AT(n_ctx), .value = "N", .min = 0,
      .max = 1 << 24, .preset = "0", .commands = CHAT | RUN | INSPECT | LOGITS | EVAL | PRICE,
      .help = "context in tokens; 0: what the model was made for, at most 8192" },
    { .names = "-c --ctx-size", .kind = OPTION_INT, .offset = AT(n_ctx), .value = "N", .min = 8,
      .max = 1 << 20, .preset = "512", .commands = PERPLEXITY | IMATRIX, .help = "tokens of a chunk" },
    { .names = "-t --threads", .kind = OPTION_INT, .offset = AT(n_threads), .value = "N", .min = 0,
      .max = 512, .preset = "0", .commands = (ENGINE & ~BENCH) | IMATRIX | QUANTIZE,
      .help = "threads that compute; 0: one for each core" },
    { .names = "--cpu", .kind = OPTION_CHOICE_TEXT, .offset = AT(cpu_tier), .value = "TIER",
      .choices = "exact scalar avx2 avx512", .commands = ENGINE | IMATRIX,
      .help = "how the processor computes; the best it has unless given" },
    { .names = "--device", .kind = OPTION_TEXT, .offset = AT(device), .value = "NAME", .preset = "auto",
      .commands = ENGINE | DOCTOR,
      .help = "what computes: cpu, vulkan, vulkan:N, a part of a name that `quip doctor` shows, or auto: the "
              "best device that is no software, passes its self-test and is faster than the processor, else that" },
    { .names = "-ngl --gpu-layers --n-gpu-layers", .kind = OPTION_INT, .offset = AT(n_gpu_layers), .value = "N",
      .min = -1, .max = 1 << 20, .preset = "-1", .commands = ENGINE,
      .help = "layers of the model that the device has, the last ones and the head; -1: as many as fit, 0: none, as "
              "many as the model has or more: all" },
    { .names = "--vulkan-loader", .kind = OPTION_TEXT, .offset = AT(vulkan_loader), .value = "FILE",
      .commands = RUN | MEASURE | PRICE | DOCTOR, .help = "Vulkan's loader in place of the system's" },
    { .names = "--vulkan-validate", .kind = OPTION_FLAG, .offset = AT(vulkan_validate),
      .commands = RUN | MEASURE | PRICE | DOCTOR,
      .help = "with Vulkan's validation layer, and say what it finds; slow, for finding mistakes of quip" },
    { .names = "-ctk --cache-type-k", .kind = OPTION_CHOICE_TEXT, .offset = AT(kv_type_k),
      .value = "TYPE", .choices = "auto " KV_TYPES, .preset = "auto", .commands = CHAT | RUN | PRICE,
      .help = "type of cached keys; auto takes the first of f16, q8_0, kv4 that fits the memory" },
    { .names = "-ctv --cache-type-v", .kind = OPTION_CHOICE_TEXT, .offset = AT(kv_type_v),
      .value = "TYPE", .choices = "auto " KV_TYPES, .preset = "auto", .commands = CHAT | RUN | PRICE,
      .help = "type of cached values; f32 goes with f32 alone" },
    { .names = "-ctk --cache-type-k", .kind = OPTION_CHOICE_TEXT, .offset = AT(kv_type_k),
      .value = "TYPE", .choices = KV_TYPES, .preset = "f16", .commands = MEASURE | INSPECT,
      .help = "type of cached keys" },
    { .names = "-ctv --cache-type-v", .kind = OPTION_CHOICE_TEXT, .offset = AT(kv_type_v),
      .value = "TYPE", .choices = KV_TYPES, .preset = "f16", .commands = MEASURE | INSPECT,
      .help = "type of cached values; f32 goes with f32 alone" },
    { .names = "--keep-kv-type", .kind = OPTION_FLAG, .offset = AT(keep_kv_type), .commands = CHAT | RUN,
      .help = "take these types as asked for, without trying first whether the model bears them" },
    { .names = "--cache-ram", .kind = OPTION_INT, .offset = AT(cache_ram_mib), .value = "MIB", .min = 0,
      .max = 1 << 20, .preset = "1024", .commands = CHAT | RUN,
      .help = "memory for what was read before and may be wanted again; 0: none" },
    { .names = "--cache-disk", .kind = OPTION_INT, .offset = AT(cache_disk_mib), .value = "MIB", .min = 0,
      .max = 1 << 24, .preset = "2048", .commands = CHAT | RUN,
      .help = "files of system prompts and chats, which later starts need not read again; 0: none" },

    { .names = "--json", .kind = OPTION_FLAG, .offset = AT(json),
      .commands = RUN | INSPECT | MODELS | TOKENIZE | IMATRIX | PRICE | CACHE | DOCTOR | PERPLEXITY | EVAL,
      .help = "one JSON object instead of text" },
    { .names = "-h --help", .kind = OPTION_FLAG, .offset = AT(help), .commands = ALL, .help = "this text" },
    { .names = "--version", .kind = OPTION_FLAG, .offset = AT(version), .commands = ALL,
      .help = "the program's version" },
};

void option_set_init(struct option_set *set)
{
    set->n = 0;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        option_set_add(set, &rows[i]);
}

void option_set_add(struct option_set *set, const struct option *row)
{
    assert(set->n < OPTION_SET_MAX);
    set->rows[set->n++] = *row;
}
