// An MCP server that has what `@modelcontextprotocol/conformance` asks servers for, made with the official SDK: each request
// with a server of its own, answered by events.
//
//     node conforming.mjs        prints where it listens

import { createServer } from "node:http";
import { setTimeout as later } from "node:timers/promises";
import { Server } from "@modelcontextprotocol/sdk/server/index.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import {
    CallToolRequestSchema, CompleteRequestSchema, ErrorCode, GetPromptRequestSchema, ListPromptsRequestSchema,
    ListResourcesRequestSchema, ListResourceTemplatesRequestSchema, ListToolsRequestSchema, McpError, ReadResourceRequestSchema,
} from "@modelcontextprotocol/sdk/types.js";

const PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
const WAV = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAAAAA==";
const text = (said) => ({ type: "text", text: said });
const image = { type: "image", data: PNG, mimeType: "image/png" };
const resource = (uri, mimeType, said) => ({ type: "resource", resource: { uri, mimeType, text: said } });

const NOTHING = { type: "object", properties: {} };
const SCHEMA_2020_12 = {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    type: "object",
    $defs: { address: { $anchor: "addressDef", type: "object", properties: { street: { type: "string" }, city: { type: "string" } } } },
    properties: {
        name: { type: "string" }, address: { $ref: "#/$defs/address" }, contactMethod: { type: "string", enum: ["phone", "email"] },
        phone: { type: "string" }, email: { type: "string" },
    },
    allOf: [{ anyOf: [{ required: ["phone"] }, { required: ["email"] }] }],
    if: { properties: { contactMethod: { const: "phone" } }, required: ["contactMethod"] },
    then: { required: ["phone"] },
    else: { required: ["email"] },
    additionalProperties: false,
};

/** What each tool takes and does. */
const TOOLS = {
    test_simple_text: [NOTHING, () => [text("This is a simple text response for testing.")]],
    test_image_content: [NOTHING, () => [image]],
    test_audio_content: [NOTHING, () => [{ type: "audio", data: WAV, mimeType: "audio/wav" }]],
    test_embedded_resource: [
        NOTHING, () => [resource("test://embedded-resource", "text/plain", "This is an embedded resource content.")],
    ],
    test_multiple_content_types: [NOTHING, () => [
        text("Multiple content types test:"), image,
        resource("test://mixed-content-resource", "application/json", JSON.stringify({ test: "data", value: 123 })),
    ]],
    test_tool_with_logging: [NOTHING, async (_, tell) => {
        for (const data of ["Tool execution started", "Tool processing data", "Tool execution completed"]) {
            await tell({ method: "notifications/message", params: { level: "info", data } });
            await later(50);
        }
        return [text("logged")];
    }],
    test_tool_with_progress: [NOTHING, async (_, tell, token) => {
        for (const progress of [0, 50, 100]) {
            if (token !== undefined) await tell({ method: "notifications/progress", params: { progressToken: token, progress, total: 100 } });
            await later(50);
        }
        return [text("done")];
    }],
    test_error_handling: [NOTHING, () => {
        throw new Error("This tool intentionally returns an error for testing");
    }],
    json_schema_2020_12_tool: [SCHEMA_2020_12, () => [text("ok")]],
    test_x_mcp_header: [
        { type: "object", properties: { region: { type: "string", "x-mcp-header": "Region" } } },
        ({ region }) => [text(`in ${region}`)],
    ],
};

/** What each prompt takes and says. */
const user = (content) => ({ role: "user", content });
const PROMPTS = {
    test_simple_prompt: [[], () => [user(text("This is a simple prompt for testing."))]],
    test_prompt_with_arguments: [
        ["arg1", "arg2"], ({ arg1, arg2 }) => [user(text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`))],
    ],
    test_prompt_with_embedded_resource: [["resourceUri"], ({ resourceUri }) => [
        user(resource(resourceUri, "text/plain", "Embedded resource content for testing.")),
        user(text("Please process the embedded resource above.")),
    ]],
    test_prompt_with_image: [[], () => [user(image), user(text("Please analyze the image above."))]],
};

const RESOURCES = {
    "test://static-text": { mimeType: "text/plain", text: "This is the content of the static text resource." },
    "test://static-binary": { mimeType: "image/png", blob: PNG },
};

function conforming() {
    const capabilities = { tools: {}, prompts: {}, resources: {}, completions: {}, logging: {} };
    const server = new Server({ name: "conforming", version: "1.0.0" }, { capabilities });
    server.setRequestHandler(ListToolsRequestSchema, () => ({
        tools: Object.entries(TOOLS).map(([name, [inputSchema]]) => ({ name, description: `Does ${name}`, inputSchema })),
    }));
    server.setRequestHandler(CallToolRequestSchema, async ({ params }, extra) => {
        const [, run] = TOOLS[params.name];
        try {
            return { content: await run(params.arguments ?? {}, extra.sendNotification, params._meta?.progressToken) };
        } catch (error) {
            return { isError: true, content: [text(error.message)] };
        }
    });
    server.setRequestHandler(ListPromptsRequestSchema, () => ({
        prompts: Object.entries(PROMPTS).map(([name, [all]]) => ({
            name, description: `Says ${name}`, arguments: all.map((one) => ({ name: one, description: `The ${one}`, required: true })),
        })),
    }));
    server.setRequestHandler(GetPromptRequestSchema, ({ params }) => ({ messages: PROMPTS[params.name][1](params.arguments ?? {}) }));
    server.setRequestHandler(ListResourcesRequestSchema, () => ({
        resources: Object.entries(RESOURCES).map(([uri, { mimeType }]) => ({ uri, name: uri.slice(7), description: `Has ${uri}`, mimeType })),
    }));
    server.setRequestHandler(ListResourceTemplatesRequestSchema, () => ({
        resourceTemplates: [{ uriTemplate: "test://template/{id}/data", name: "data", description: "By id", mimeType: "application/json" }],
    }));
    server.setRequestHandler(ReadResourceRequestSchema, ({ params: { uri } }) => {
        const id = /^test:\/\/template\/([^/]+)\/data$/.exec(uri)?.[1];
        if (id !== undefined) {
            const said = JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` });
            return { contents: [{ uri, mimeType: "application/json", text: said }] };
        }
        if (RESOURCES[uri] === undefined) throw new McpError(-32002, "Resource not found", { uri });
        return { contents: [{ uri, ...RESOURCES[uri] }] };
    });
    server.setRequestHandler(CompleteRequestSchema, ({ params }) => {
        if (params.ref.type === "ref/prompt" && PROMPTS[params.ref.name] === undefined) {
            throw new McpError(ErrorCode.InvalidParams, "no such prompt");
        }
        const values = ["paris", "park", "party"].filter((value) => value.startsWith(params.argument.value));
        return { completion: { values, total: values.length, hasMore: false } };
    });
    return server;
}

const http = createServer(async (request, response) => {
    if (request.method !== "POST") return void response.writeHead(405).end();
    const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined });
    const server = conforming();
    response.once("close", () => void server.close());
    await server.connect(transport);
    await transport.handleRequest(request, response);
});
http.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${http.address().port}/mcp`));
