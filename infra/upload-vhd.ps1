<#
.SYNOPSIS
Checks a disk image, uploads it, and waits until every target has its image.

.DESCRIPTION
For image builds. Runs 'goldfleet check' and then 'goldfleet upload --wait', and prints the status table on standard output. The
options are those of upload-vhd.sh.

The program is the one that $env:GOLDFLEET names, or else goldfleet on the PATH.

The exit code is that of goldfleet: 0 success; 1 an operation failed; 2 invalid usage, configuration or input; 3 a service refused a
request or could not be reached; 130 interrupted. PowerShell itself rejects invalid parameters before the script runs.

.PARAMETER Path
The disk image: VHD, VHDX, qcow2, VMDK or raw; a VHD or raw disk may be compressed.

.PARAMETER Image
The image, such as windows-2025.

.PARAMETER Version
Its version, such as 2026.11.1.

.PARAMETER Os
linux or windows.

.PARAMETER Generation
v1 or v2. Deduced from the partition table by default.

.PARAMETER Limit
Send at most this much per second, such as 200MiB/s.

.PARAMETER Target
Only targets that match one of these selectors, such as 'west*' or 'ring=0,tag.env=prod'.

.PARAMETER Ring
Only targets of these rings.

.PARAMETER Note
A remark that is shown with the job, such as a ticket number.

.PARAMETER Approve
Let every ring after the first wait for 'goldfleet approve'.

.PARAMETER Config
The configuration. By default goldfleet.toml in this directory or a parent directory.

.EXAMPLE
infra/upload-vhd.ps1 golden.vhd -Image windows-2025 -Version 2026.11.1 -Os windows

.EXAMPLE
infra/upload-vhd.ps1 golden.vhd -Image windows-2025 -Version 2026.11.1 -Os windows -Target 'west*', 'eastus' -Approve -WhatIf

Checks the file and shows the command that would upload it.

.EXAMPLE
pwsh -NonInteractive -File infra/upload-vhd.ps1 -Image windows-2025 -Version 2026.11.1 -Os windows -Path golden.vhd

In a pipeline. A missing parameter is an error instead of a question.
#>
[CmdletBinding(SupportsShouldProcess, PositionalBinding = $false)]
param(
    [Parameter(Mandatory, Position = 0)]
    [ValidateNotNullOrEmpty()]
    [string] $Path,

    [Parameter(Mandatory)]
    [ValidateNotNullOrEmpty()]
    [string] $Image,

    [Parameter(Mandatory)]
    [ValidateNotNullOrEmpty()]
    [string] $Version,

    [Parameter(Mandatory)]
    [ValidateSet('linux', 'windows')]
    [string] $Os,

    [ValidateSet('v1', 'v2')]
    [string] $Generation,

    [ValidatePattern('^\s*[0-9]+\s*([KMG]iB|kB|MB|GB|B)\s*/s\s*$')]
    [string] $Limit,

    [ValidateNotNullOrEmpty()]
    [string[]] $Target,

    # Text, because 'pwsh -File' passes 0,1 as one argument. goldfleet accepts a list with commas.
    [ValidatePattern('^[0-9]+(,[0-9]+)*$')]
    [string[]] $Ring,

    [ValidateNotNullOrEmpty()]
    [string] $Note,

    [switch] $Approve,

    [ValidateNotNullOrEmpty()]
    [string] $Config
)

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
# Return goldfleet's exit code instead of throwing an exception.
$PSNativeCommandUseErrorActionPreference = $false

$goldfleet = 'goldfleet'
if ($env:GOLDFLEET) { $goldfleet = $env:GOLDFLEET }
if (-not (Get-Command -Name $goldfleet -CommandType Application -ErrorAction SilentlyContinue)) {
    if ($env:GOLDFLEET) {
        [Console]::Error.WriteLine("upload-vhd.ps1: GOLDFLEET names $goldfleet, which is not a program")
    }
    else {
        [Console]::Error.WriteLine('upload-vhd.ps1: goldfleet is not on the PATH: install it, or name it in the variable GOLDFLEET')
    }
    exit 2
}

$common = @()
if ($Config) { $common += '--config', $Config }
$disk = @($Path)
if ($Generation) { $disk += '--generation', $Generation.ToLowerInvariant() }
$job = @('--image', $Image, '--version', $Version, '--os', $Os.ToLowerInvariant())
if ($Limit) { $job += '--limit', $Limit }
foreach ($selector in $Target) { $job += '--target', $selector }
foreach ($number in $Ring) { $job += '--ring', $number }
if ($Note) { $job += '--note', $Note }
if ($Approve) { $job += '--approve' }

# The check changes nothing, so it also runs with -WhatIf.
& $goldfleet @common check @disk --image $Image
if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
$upload = $common + 'upload' + $disk + $job + '--wait'
if ($PSCmdlet.ShouldProcess("$Image $Version", "goldfleet $($upload -join ' ')")) {
    & $goldfleet @upload
    exit $LASTEXITCODE
}
